"""What pages say of an evaluation beyond the 12 numbers: intervals, operating point, classes, errors, calibration, curves."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open
from webapp.results.presentation import METRICS

FEW_GROUND_TRUTHS = 20
MOST_CONFUSED = 15  # classes up to which the whole matrix fits a page
MOST_MISTAKES = 25
MOST_LINES = 6  # more curves than this cannot be told apart
HEATS = 6
CURVE_WIDTH, CURVE_HEIGHT = 320, 220
# What comes of a file that is gone, cut short or damaged.
UNREADABLE = (OSError, EOFError, ValueError, zlib.error)
ERROR_KINDS = {
    "Cls": ("Wrong class", "an object is found under another class's name"),
    "Loc": ("Loose box", "the class is right, the box overlaps by 0.1 to 0.5"),
    "Both": ("Both", "wrong class and loose box"),
    "Dupe": ("Duplicate", "an object that was already found"),
    "Bkg": ("Background", "nothing is there"),
    "Miss": ("Miss", "an object that no detection explains"),
}


@dataclass(frozen=True)
class IntervalRow:
    """A number with its 95% interval."""

    title: str
    value: float | None
    low: float
    high: float


@dataclass(frozen=True)
class ClassRow:
    """One class: AP and what the operating point gives; `few` where fewer than 20 objects stand behind the numbers."""

    name: str
    ap: float | None
    ap50: float | None
    ground_truths: int
    precision: float | None
    recall: float | None
    f1: float | None
    few: bool


@dataclass(frozen=True)
class ErrorRow:
    """A kind of error: how often, and how much AP50 mending all of them would give; `share` 0..100 of the largest gain."""

    title: str
    meaning: str
    count: int
    gain: float
    share: float


@dataclass(frozen=True)
class ConfusionCell:
    """A count and how dark its cell is, 0 to 5, by its share of the row."""

    count: int
    heat: int


@dataclass(frozen=True)
class PrLine:
    """A precision-recall curve at IoU 0.5 in the pixels of the drawing."""

    title: str
    slot: int
    points: str


@dataclass(frozen=True)
class Accuracy:
    """Everything that the part `parts/accuracy.html` shows; what an older evaluation lacks is empty."""

    resampled: str
    note: str
    intervals: list[IntervalRow]
    operating_point: dict[str, Any] | None
    flattered: bool  # the threshold was chosen on the images that it is judged on
    classes: list[ClassRow]
    confusion: list[tuple[str, list[ConfusionCell]]]
    confusion_heads: list[str]
    mistakes: list[tuple[str, str, int]]
    errors: list[ErrorRow]
    calibration: dict[str, Any] | None
    curves: list[PrLine]
    audit: dict[str, Any] | None

    @property
    def few(self) -> bool:
        """Whether some class has too few objects for its numbers to mean much."""
        return any(row.few for row in self.classes)


def accuracy_of(result: Mapping[str, Any], curves: Artifact | None) -> Accuracy:
    """Return what the page of an evaluate or score job's result shows.

    Args:
        result: fields of detection_core.schemas.results.EvaluateResult or ScoreResult.
        curves: the stored output `curves`, where there is one.
    """
    card = result.get("accuracy") or {}
    bootstrap = card.get("bootstrap")
    confusion = card.get("confusion")
    return Accuracy(
        resampled=_resampled(bootstrap),
        note=(bootstrap or {}).get("note", ""),
        intervals=_intervals(result["metrics"], bootstrap),
        operating_point=card.get("operating_point"),
        flattered=_flattered(card.get("operating_point"), result.get("split")),
        classes=_classes(result.get("per_class") or [], card.get("operating_point")),
        confusion=_confusion(confusion) if _fits(confusion) else [],
        confusion_heads=[*confusion["classes"], "not found"] if confusion else [],
        mistakes=[] if _fits(confusion) else _mistakes(confusion),
        errors=_errors(card.get("errors")),
        calibration=_calibration(card.get("calibration")),
        curves=pr_lines(curves_of(curves)),
        audit=_disagreement(result.get("audit")),
    )


def _flattered(point: Mapping[str, Any] | None, split: str | None) -> bool:
    """Only of a data set's split can the threshold be chosen elsewhere; a results file against a file of ground truth has no other."""
    return point is not None and split in (None, point["chosen_on"])


def _resampled(bootstrap: Mapping[str, Any] | None) -> str:
    if not bootstrap:
        return ""
    unit = "images" if bootstrap["unit"] == "image" else "groups of images"
    return f"95% intervals from {bootstrap['draws']:,} draws of {bootstrap['units']:,} {unit}"


def _intervals(metrics: Mapping[str, float | None], bootstrap: Mapping[str, Any] | None) -> list[IntervalRow]:
    found = (bootstrap or {}).get("intervals", {})
    return [
        IntervalRow(title=METRICS[name][0], value=metrics.get(name), low=found[name]["low"], high=found[name]["high"])
        for name in METRICS
        if found.get(name)
    ]


def _classes(per_class: Sequence[Mapping[str, Any]], point: Mapping[str, Any] | None) -> list[ClassRow]:
    by_name = {entry["name"]: entry for entry in (point or {}).get("per_class", [])}
    rows = [_class_row(entry, by_name.get(entry["name"], {})) for entry in per_class]
    return sorted(rows, key=lambda row: -row.ground_truths)


def _class_row(entry: Mapping[str, Any], at: Mapping[str, Any]) -> ClassRow:
    return ClassRow(
        name=entry["name"],
        ap=entry["ap"],
        ap50=entry["ap50"],
        ground_truths=entry["ground_truths"],
        precision=at.get("precision"),
        recall=at.get("recall"),
        f1=at.get("f1"),
        few=0 < entry["ground_truths"] < FEW_GROUND_TRUTHS,
    )


def _confusion(confusion: Mapping[str, Any] | None) -> list[tuple[str, list[ConfusionCell]]]:
    if not confusion:
        return []
    names = [*confusion["classes"], "background"]
    return [(name, _cells(row)) for name, row in zip(names, confusion["counts"], strict=True)]


def _fits(confusion: Mapping[str, Any] | None) -> bool:
    return confusion is None or len(confusion["classes"]) <= MOST_CONFUSED


def _mistakes(confusion: Mapping[str, Any] | None) -> list[tuple[str, str, int]]:
    """The largest counts off the diagonal, where the matrix is too large to read."""
    if not confusion:
        return []
    classes = confusion["classes"]
    cells = [
        (row, column, count)
        for row, counts in zip([*classes, "background"], confusion["counts"], strict=True)
        for column, count in zip([*classes, "not found"], counts, strict=True)
        if count and row != column
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:MOST_MISTAKES]


def _cells(row: Sequence[int]) -> list[ConfusionCell]:
    whole = sum(row) or 1
    return [ConfusionCell(count=count, heat=min(HEATS - 1, round(count / whole * (HEATS - 1)))) for count in row]


def _errors(errors: Mapping[str, Any] | None) -> list[ErrorRow]:
    if not errors:
        return []
    largest = max((errors["gain"].get(kind, 0.0) for kind in ERROR_KINDS), default=0.0) or 1.0
    return [
        ErrorRow(
            title=title,
            meaning=meaning,
            count=errors["counts"].get(kind, 0),
            gain=errors["gain"].get(kind, 0.0),
            share=round(100 * max(0.0, errors["gain"].get(kind, 0.0)) / largest, 1),
        )
        for kind, (title, meaning) in ERROR_KINDS.items()
    ]


def _calibration(calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not calibration:
        return None
    return {**calibration, "bins": [entry for entry in calibration["bins"] if entry["count"]]}


def _disagreement(audit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The numbers of both evaluators, where they were kept because they differ."""
    if not audit or not audit.get("first") or not audit.get("second"):
        return None
    rows = [(METRICS[name][0], audit["first"].get(name), audit["second"].get(name)) for name in METRICS]
    return {"engine": audit["engine"], "images": audit["images"], "rows": rows}


def pr_lines(curves: Mapping[str, Any]) -> list[PrLine]:
    """Return precision against recall at IoU 0.5: a line for each class, or their mean where there are more than six."""
    found = {name: values for name, values in (curves.get("precision") or {}).items() if any(value is not None for value in values)}
    if not found:
        return []
    if len(found) > MOST_LINES:
        columns = zip(*found.values(), strict=True)
        found = {f"mean of {len(found)} classes": [_mean(column) for column in columns]}
    recall = curves["recall"]
    return [PrLine(title=name, slot=slot, points=_points(recall, values)) for slot, (name, values) in enumerate(found.items())]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _points(recall: Sequence[float], precision: Sequence[float | None]) -> str:
    pairs = zip(recall, precision, strict=True)
    return " ".join(f"{x * CURVE_WIDTH:.1f},{(1 - (y or 0.0)) * CURVE_HEIGHT:.1f}" for x, y in pairs)


def curves_of(artifact: Artifact | None) -> dict[str, Any]:
    """Return what the output `curves` holds, {} where there is none or the storage does not give it."""
    if artifact is None:
        return {}
    try:
        return _read(artifact.pk, artifact.storage_key)
    except UNREADABLE:
        return {}


@lru_cache(maxsize=32)
def _read(sha256: str, storage_key: str) -> dict[str, Any]:
    """Bytes never change under their hash, so what was read is kept; a failure is not, for a storage may come back."""
    with artifact_open(Artifact(sha256=sha256, storage_key=storage_key)) as stream:
        return json.loads(gzip.decompress(stream.read()))
