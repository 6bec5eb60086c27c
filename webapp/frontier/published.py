"""Reads of published figures: hollow points by machine, and claims beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detection_core.catalogue.published import (
    FAMILY_NAMES,
    PublishedResult,
    claims_for,
    drawable,
    published_hardware,
    published_results,
)
from webapp.results.models import Result
from webapp.results.selectors import BoardFilters, results_with_relations

NMS_CHOICES = {"yes": "inside the time", "no": "left out", "unknown": "not told"}
MOST_CLAIMS = 200
COCO_IMAGES = 5000


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
    """A published AP beside one measured here. They are comparable only on the same images, which `same_data` tells."""

    claimed: PublishedResult
    measured: Result
    same_data: bool

    @property
    def difference(self) -> float:
        """Measured less claimed."""
        return (self.measured.ap or 0.0) - (self.claimed.ap or 0.0)

    @property
    def words(self) -> str:
        """What the pair says."""
        if not self.same_data:
            return "other images than those of the claim: no verdict"
        low, high = self.measured.ap_low, self.measured.ap_high
        if low is None or high is None:
            return "within rounding" if abs(self.difference) <= 0.003 else "differs; look at resize, thresholds, class names"
        inside = low <= (self.claimed.ap or 0.0) <= high
        return "the claim lies in the interval" if inside else "the claim lies outside the interval"


def published_points(filters: PublishedFilters) -> list[PublishedResult]:
    """Return what may be drawn together: COCO val2017, one machine, batch 1, the fastest first."""
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
    """Return each model that has a published AP and a measured one, best evaluation first; all models where `model` is empty."""
    filters = BoardFilters(model=model, show="all")
    rows = results_with_relations().filter(evaluation__isnull=False, ap__isnull=False).order_by("model", "-complete", "-id")
    if filters.model:
        rows = rows.filter(model=filters.model)
    found: dict[tuple[str, str, str], Claim] = {}
    for row in rows[:MOST_CLAIMS]:
        for claimed in claims_for(row.model):
            if claimed.ap is not None and claimed.dataset_split.startswith("COCO"):
                key = (row.model, str(row.dataset_version_id), claimed.title + claimed.source_title)
                found.setdefault(key, Claim(claimed=claimed, measured=row, same_data=_is_coco_val(row, claimed)))
    return list(found.values())


def _is_coco_val(row: Result, claimed: PublishedResult) -> bool:
    """The whole of COCO val2017 has 5,000 images; a part of it, or other data, decides nothing about a claim."""
    version = row.dataset_version
    images = version.splits.get(row.split, {}).get("images")
    return claimed.dataset_split == "COCO val2017" and images == COCO_IMAGES and "coco" in version.dataset.name.lower()


def family_of(row: PublishedResult) -> str:
    """Return our name of a published row's family; its own where the catalogue has none."""
    return next((name for name, title in FAMILY_NAMES.items() if title == row.family), row.family)
