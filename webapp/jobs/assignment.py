"""What detectors could learn from a stored data set: the assignment panel of the page that queues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from detection_core.assignment.fit import AnchorProposal
from detection_core.assignment.layouts import AnchorOptions, has_layout
from detection_core.assignment.report import AssignmentReport, ObjectCounts
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.specs import Detector, Neck
from detection_core.operations.assignment import SplitBoxes, anchors_for, assignment_of
from detection_core.schemas.base import InvalidInput
from webapp.datasets.archive import SPLITS, archive_index

# A report is some kilobytes; a person changes sizes and models back and forth.
KEPT_REPORTS = 512
NOT_COUNTED = "Its training chooses places by what the network answers, so nothing can be counted before."


@dataclass(frozen=True)
class AnchorChoice:
    """Other anchors for a detector that a person may take into the request: `value` is what the form sends."""

    options: AnchorOptions
    value: str
    own: AssignmentReport
    report: AssignmentReport

    @property
    def sizes(self) -> str:
        """Tell the sizes of each level, finest first."""
        return " | ".join(", ".join(f"{size:g}" for size in level) for level in self.options.anchor_sizes or ())

    @property
    def ratios(self) -> str:
        """Tell the ratios, once if all levels have the same."""
        levels = [", ".join(f"{ratio:g}" for ratio in level) for level in self.options.aspect_ratios or ()]
        return levels[0] if len(set(levels)) == 1 else " | ".join(levels)

    @property
    def before(self) -> str:
        """Return the part of the objects, in percent, that the detector's own anchors leave under IoU 0.5."""
        return shares("own", self.own.total).unmatched

    @property
    def after(self) -> str:
        """Return the part of the objects, in percent, that these anchors leave under IoU 0.5."""
        return shares("fitted", self.report.total).unmatched

    @property
    def better(self) -> bool:
        """Say whether objects overlap these anchors better than the detector's own: mean IoU and share together, as they were fitted."""
        return _score(self.report) > _score(self.own)


@dataclass(frozen=True)
class Shares:
    """What of some objects is lost and what has no anchor at IoU 0.5, in percent as written; "" where there are no anchors.

    `lost` is `collided`, objects whose every place learns another one, and `unreached`, objects that no place is near.
    """

    name: str
    lost: str
    collided: str
    unreached: str
    unmatched: str


@dataclass(frozen=True)
class LevelRow:
    """One level of a report; counts are those of an image on average."""

    cells: str
    cell: str
    per_place: int
    positives: str
    ignored: str
    negatives: str
    by_size: list[tuple[str, int]]


@dataclass(frozen=True)
class AssignmentRow:
    """One detector of the panel: its report, or why there is none."""

    detector: Detector
    report: AssignmentReport | None = None
    problem: str = ""
    choice: AnchorChoice | None = None

    @property
    def total(self) -> Shares | None:
        """Return the shares of all objects."""
        return shares("all", self.report.total) if self.report else None

    @property
    def positives(self) -> str:
        """Return the positives that an image has on average."""
        return _average(self.report.positives_per_image) if self.report else ""

    @property
    def sizes(self) -> list[Shares]:
        """Return the shares of each size that the data set has objects of."""
        return [shares(name, found) for name, found in self.report.by_size.items() if found.objects] if self.report else []

    @property
    def levels(self) -> list[LevelRow]:
        """Return the report's levels, the finest first."""
        images = max(1, self.report.images) if self.report else 1
        return [
            LevelRow(
                cells=f"{level.columns} × {level.rows}",
                cell=f"{level.cell:g}",
                per_place=level.per_place,
                positives=_average(level.positives / images),
                ignored=_average(level.ignored / images),
                negatives=_average(level.negatives / images),
                by_size=list(level.positives_by_size.items()),
            )
            for level in (self.report.levels if self.report else ())
        ]

    @property
    def can_fit(self) -> bool:
        """Say whether anchors can be fitted to it."""
        return self.report is not None and self.report.kind == "anchors" and self.report.total.objects > 0 and self.choice is None


def shares(name: str, found: ObjectCounts) -> Shares:
    """Put counts of objects as percent of them."""
    lost, collided, unreached = (_percent(part, found.objects) for part in (found.lost, found.collided, found.unreached))
    unmatched = "" if found.unmatched is None else _percent(found.unmatched, found.objects)
    return Shares(name, lost, collided, unreached, unmatched)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"


def _average(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.1f}" if value >= 0.1 or value == 0 else f"{value:.2f}"


def _score(report: AssignmentReport) -> float:
    return (report.mean_best_iou or 0.0) - (report.unmatched_share or 0.0)


def split_of(sha256: str, split: str) -> SplitBoxes:
    """Return the objects of a split of a stored data set, without crowds.

    Raises:
        InvalidInput: `split` is no split.
        FileNotFoundError: the stored .tar is gone.
    """
    if split not in SPLITS:
        raise InvalidInput(f"'{split}' is not a split; use one of {', '.join(SPLITS)}")
    index = archive_index(sha256)
    images = np.flatnonzero(index.splits == SPLITS.index(split))
    numbers = np.full(len(index), -1, dtype=np.int64)
    numbers[images] = np.arange(len(images))
    image = np.repeat(numbers, np.diff(index.starts))
    chosen = (image >= 0) & ~index.iscrowd
    return SplitBoxes(split, index.boxes[chosen], image[chosen], index.areas[chosen], index.sides[images].astype(np.int64))


def report_of(
    sha256: str, model: str, *, input_size: int | None = None, options: AnchorOptions | None = None, split: str = "train"
) -> AssignmentReport:
    """Return the assignment report of a detector on a split of a stored data set; kept by content, size and anchors.

    Raises:
        InvalidInput: the detector, the size or the anchors cannot be.
        FileNotFoundError: the stored .tar is gone.
    """
    return _report(sha256, model, input_size, "" if options is None else options.model_dump_json(), split)


@lru_cache(maxsize=KEPT_REPORTS)
def _report(sha256: str, model: str, input_size: int | None, options: str, split: str) -> AssignmentReport:
    anchors = AnchorOptions.parse(options) if options else None
    return assignment_of(model, split_of(sha256, split), input_size=input_size, options=anchors)


@lru_cache(maxsize=KEPT_REPORTS)
def proposal_of(sha256: str, model: str, input_size: int | None, neck: Neck | None = None) -> AnchorProposal:
    """Return anchors fitted to the train split of a stored data set, under the detector's own neck or another; kept like the reports."""
    return anchors_for(model, split_of(sha256, "train"), input_size=input_size, neck=neck)


def assignment_rows(
    sha256: str, models: list[str], *, input_size: int | None, anchors: Mapping[str, AnchorOptions], fit: str = ""
) -> list[AssignmentRow]:
    """Return a row for each detector on the train split.

    Args:
        sha256: of the stored .tar.
        models: names of the catalogue.
        input_size: side of the input in pixels; None means each detector's own.
        anchors: what was taken into the request, by model.
        fit: the model whose anchors shall be fitted now.
    """
    return [_row(sha256, DETECTORS[model], input_size, anchors.get(model), fit=model == fit) for model in models]


def anchors_value(model: str, options: AnchorOptions) -> str:
    """Return anchors as one value of a form's field."""
    return json.dumps({"model": model, **options.given()}, separators=(",", ":"))


def anchors_of(value: str) -> tuple[str, AnchorOptions]:
    """Read what `anchors_value` wrote; raises InvalidInput for anything else."""
    try:
        data = json.loads(value)
        model = data.pop("model")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InvalidInput("the anchors of the form are not readable; fit them again") from None
    return str(model), AnchorOptions.parse(data)


def _row(sha256: str, detector: Detector, input_size: int | None, taken: AnchorOptions | None, *, fit: bool) -> AssignmentRow:
    if not has_layout(detector):
        return AssignmentRow(detector, problem=NOT_COUNTED)
    try:
        own = report_of(sha256, detector.name, input_size=input_size)
        neck = taken.neck if taken else None
        options = proposal_of(sha256, detector.name, input_size, neck).options if fit else taken
        if options is None:
            return AssignmentRow(detector, own)
        report = report_of(sha256, detector.name, input_size=input_size, options=options)
    except InvalidInput as error:
        return AssignmentRow(detector, problem=str(error))
    except FileNotFoundError:
        return AssignmentRow(detector, problem="The stored data set is gone; import it again.")
    return AssignmentRow(detector, report, choice=AnchorChoice(options, anchors_value(detector.name, options), own, report))
