"""Reads of published figures: hollow points by machine, and claims beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import F

from detection_core.catalogue.published import (
    COCO_VAL,
    FAMILY_NAMES,
    PublishedResult,
    claims_for,
    drawable,
    published_hardware,
    published_results,
)
from webapp.results.models import Result
from webapp.results.selectors import EVALUATORS_DISAGREE, THRESHOLDED, results_with_relations

NMS_CHOICES = {"yes": "inside the time", "no": "left out", "unknown": "not told"}
COCO_IMAGES, COCO_CLASSES = 5000, 80
CLAIMED_DTYPES = ("fp32", "fp16")
ROUNDING = 0.003


@dataclass(frozen=True)
class PublishedFilters:
    """What a reader asked for. Figures of two machines, or with and without NMS, are never drawn together."""

    hardware: str
    precision: str = ""
    nms: str = ""
    family: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> PublishedFilters:
        """Read the filters; a machine that is not known gives the one with the most figures."""
        machines = [name for name, _ in published_hardware()]
        hardware = query.get("hardware", "")
        return cls(
            hardware=hardware if hardware in machines else machines[0],
            precision=query.get("precision", ""),
            nms=query.get("nms", "") if query.get("nms", "") in NMS_CHOICES else "",
            family=query.get("family", ""),
        )


@dataclass(frozen=True)
class Claim:
    """A published AP beside one measured here; `obstacle` says why the one decides nothing about the other, empty where it does."""

    claimed: PublishedResult
    measured: Result
    obstacle: str

    @property
    def difference(self) -> float:
        """Measured less claimed."""
        return (self.measured.ap or 0.0) - (self.claimed.ap or 0.0)

    @property
    def words(self) -> str:
        """What the pair says.

        The stored interval is corrected for bias, so that the measured number itself may lie outside of it. A claim is a number that was
        measured alike, bias and all: it is judged by the interval's half width around the measured number.
        """
        if self.obstacle:
            return f"{self.obstacle}: no verdict"
        low, high = self.measured.ap_low, self.measured.ap_high
        if low is None or high is None:
            return "within rounding" if abs(self.difference) <= ROUNDING else "differs; look at resize, thresholds, class names"
        spread = (high - low) / 2
        inside = abs(self.difference) <= spread
        return f"the claim lies {'within' if inside else 'outside'} ±{100 * spread:.1f}, half the interval, of the measured AP"


def published_points(filters: PublishedFilters) -> list[PublishedResult]:
    """Return what may be drawn together: COCO val2017, one machine, batch 1 as far as sources tell it, the fastest first."""
    rows = [row for row in published_results() if drawable(row) and row.hardware == filters.hardware and _chosen(row, filters)]
    return sorted(rows, key=lambda row: row.speed_ms or 0.0)


def _chosen(row: PublishedResult, filters: PublishedFilters) -> bool:
    wanted = ((filters.precision, row.precision or "not told"), (filters.nms, row.includes_nms), (filters.family, row.family))
    return all(not value or value == found for value, found in wanted)


def published_choices(filters: PublishedFilters) -> dict[str, list[tuple[str, str]]]:
    """Return the choices of each filter with the words that they are shown in."""
    rows = [row for row in published_results() if drawable(row) and row.hardware == filters.hardware]
    return {
        "hardware": [(name, f"{name} ({count})") for name, count in published_hardware()],
        "precision": [(name, name) for name in sorted({row.precision or "not told" for row in rows})],
        "nms": [(name, words) for name, words in NMS_CHOICES.items() if any(row.includes_nms == name for row in rows)],
        "family": [(name, name) for name in sorted({row.family for row in rows})],
    }


def claims(*, model: str = "") -> list[Claim]:
    """Return the claims about each measured model beside what was measured, models by name; all of them where `model` is empty.

    On each data set version and split that is the best evaluation that can be judged, or the best one where none can. Results that are
    doubted or cut off at a threshold are left out.
    """
    found: dict[tuple[object, ...], Claim] = {}
    for row in _measured(model):
        for claimed in _claimed(row.model):
            claim = Claim(claimed=claimed, measured=row, obstacle=_obstacle(row, claimed))
            key = (row.model, row.dataset_version_id, row.split, claimed)
            if key not in found or (found[key].obstacle and not claim.obstacle):
                found[key] = claim
    return list(found.values())


def _measured(model: str) -> list[Result]:
    """Evaluations of models that have claims, by model and best first: one for each way to measure, so that they are never many."""
    rows = results_with_relations().filter(evaluation__isnull=False, ap__isnull=False)
    for flag in (EVALUATORS_DISAGREE, THRESHOLDED):
        rows = rows.exclude(flags__contains=[flag])
    names = [model] if model else rows.order_by().values_list("model", flat=True).distinct()
    rows = rows.filter(model__in=[name for name in names if _claimed(name)]).annotate(made_by=F("checkpoint__job__kind"))
    apart = ("model", "dataset_version_id", "split", "input_size", "dtype", "made_by")
    best = rows.order_by(*apart, "-ap", "-complete", "-id").distinct(*apart)
    return sorted(best, key=lambda row: (row.model, -(row.ap or 0.0)))


def _claimed(model: str) -> list[PublishedResult]:
    return [row for row in claims_for(model) if row.ap is not None and row.dataset_split.startswith("COCO")]


def _obstacle(row: Result, claimed: PublishedResult) -> str:
    """Say what differs between a measurement and a claim besides the software; empty where nothing does."""
    if not _is_coco_val(row, claimed):
        return "other images than those of the claim"
    manifest = row.exported_model.manifest
    # A manifest names the data that a network was trained on here; a file from elsewhere is taken for what its name says.
    if manifest.get("dataset_sha256") or row.made_by == "train":  # type: ignore[attr-defined]
        return "other weights than those of the claim"
    if row.dtype not in CLAIMED_DTYPES:
        return f"{row.dtype}, and claims are of fp32 or fp16"
    sides = _sides(claimed.input_size)
    if sides is None:
        return "the claim does not tell its input size"
    if sides != sorted((manifest["input"]["height"], manifest["input"]["width"])):
        return "another input size than that of the claim"
    return ""


def _sides(text: str) -> list[int] | None:
    """Read "640" or "800x1333"; None for anything else."""
    found = [int(side) for side in text.split("x") if side.isdecimal()]
    if not found or len(found) > 2 or len(found) != text.count("x") + 1:
        return None
    return sorted(found * 2) if len(found) == 1 else sorted(found)


def _is_coco_val(row: Result, claimed: PublishedResult) -> bool:
    """The whole of COCO val2017 has 5,000 images and 80 classes; a part of it, or other data, decides nothing about a claim."""
    version = row.dataset_version
    whole = version.splits.get(row.split, {}).get("images") == COCO_IMAGES and len(version.classes) == COCO_CLASSES
    return claimed.dataset_split == COCO_VAL and whole and "coco" in version.dataset.name.lower()


def family_of(row: PublishedResult) -> str:
    """Return our name of a published row's family; its own where the catalogue has none."""
    return FAMILY_NAMES.get(row.family, row.family)
