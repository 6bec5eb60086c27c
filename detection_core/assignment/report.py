"""The assignment report: what a training could learn from, counted by object size and by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from detection_core.assignment.layouts import AnchorOptions, AnchorRule, CellRule, Level, PointRule, ShapeRule, layout, rule_of
from detection_core.assignment.matching import Assignment, Rule, best_iou, match, pairs_looked_at
from detection_core.assignment.points import match_holding, match_points, match_shapes, match_surrounding
from detection_core.assignment.truth import SIDES, SIZES, Truth
from detection_core.catalogue.specs import Detector
from detection_core.schemas.base import Schema

# The thresholds of torchvision's trainings; Faster R-CNN's are those of its proposal network.
MATCHING: dict[str, Rule] = {
    "faster_rcnn": Rule(high=0.7, low=0.3),
    "retinanet": Rule(high=0.5, low=0.4),
    "ssd": Rule(high=0.5, low=0.5, keeps_best=True),
}
COMMON_IOU = 0.5


class ObjectCounts(Schema):
    """Objects of one size.

    `collided`: every place that could learn the object learns another one. `unreached`: no place could. `unmatched`: no anchor overlaps
    it by 0.5 or more, None without anchors; `unmatched_own`: by the family's own threshold, None where it has none. `positives` learn one
    of them.
    """

    objects: int
    collided: int
    unreached: int
    unmatched: int | None
    unmatched_own: int | None
    positives: int

    @property
    def lost(self) -> int:
        """Return the objects that no place learns."""
        return self.collided + self.unreached


class LevelCounts(Schema):
    """Places of one level over all images; `cell` is the side of a cell in pixels, `per_place` the anchors at each."""

    cell: float
    rows: int
    columns: int
    per_place: int
    positives: int
    ignored: int
    negatives: int
    positives_by_size: dict[str, int]


class AssignmentReport(Schema):
    """What a training of `model` at `input_size` would do with the ground truth of a split, before augmentation.

    `by_size` is by COCO's sizes in the original image, `by_side` by the square root of the area at the network input, pixels.
    `sampled` says that `images` and `total.objects` are a seeded part of `all_images` and `all_objects`. `anchors` are those in force,
    as far as sizes in ratios can tell them. `advice` is one sentence, where much of the ground truth is lost.
    """

    schema_version: Literal[1] = 1
    model: str
    family: str
    input_size: int
    split: str
    kind: Literal["anchors", "points"]
    own_iou: float | None
    images: int
    all_images: int
    all_objects: int
    sampled: bool
    total: ObjectCounts
    by_size: dict[str, ObjectCounts]
    by_side: dict[str, ObjectCounts]
    levels: tuple[LevelCounts, ...]
    mean_best_iou: float | None
    anchors: AnchorOptions
    advice: str = ""

    @property
    def positives_per_image(self) -> float:
        """Return the positives that an image has on average."""
        return self.total.positives / max(1, self.images)

    @property
    def lost_share(self) -> float:
        """Return the part of the objects that no place learns, 0..1."""
        return self.total.lost / max(1, self.total.objects)

    @property
    def unmatched_share(self) -> float | None:
        """Return the part of the objects that no anchor overlaps by 0.5, 0..1."""
        return None if self.total.unmatched is None else self.total.unmatched / max(1, self.total.objects)


def assign(detector: Detector, levels: Sequence[Level], truth: Truth) -> Assignment:
    """Assign the places of a detector to ground truth as its training does."""
    rule = rule_of(detector)
    if isinstance(rule, PointRule):
        return match_surrounding(levels[0], truth) if rule.surrounding else match_points(levels, truth)
    if isinstance(rule, CellRule):
        return match_holding(levels[0], truth)
    if isinstance(rule, ShapeRule):
        return match_shapes(levels, truth)
    return match(levels, truth, MATCHING[detector.family])


def pairs_of(detector: Detector, levels: Sequence[Level], truth: Truth) -> int:
    """Return about how many overlaps `assign` would compute; 0 without anchors, where it is always quick."""
    if isinstance(rule_of(detector), ShapeRule):
        return pairs_looked_at(levels, truth, Rule(high=COMMON_IOU, low=COMMON_IOU))
    return pairs_looked_at(levels, truth, MATCHING[detector.family]) if detector.family in MATCHING else 0


def unmatched_share(detector: Detector, truth: Truth, *, height: int, width: int, options: AnchorOptions | None = None) -> float:
    """Return the part of the objects that no anchor overlaps by 0.5, 0..1."""
    levels = layout(detector, height=height, width=width, options=options)
    return float((best_iou(levels, truth) < COMMON_IOU).mean()) if len(truth) else 0.0


def assignment_report(
    detector: Detector,
    truth: Truth,
    *,
    height: int,
    width: int,
    split: str,
    options: AnchorOptions | None = None,
    all_images: int | None = None,
    all_objects: int | None = None,
) -> AssignmentReport:
    """Count what a training could learn from.

    Args:
        detector: a catalogue entry of a family that `layouts` describes.
        truth: the objects, or a sample of them.
        height: of the network input, pixels.
        width: of the network input, pixels.
        split: what the objects are of; only told.
        options: other anchors or another neck than the detector's own.
        all_images: how many images there are if `truth` is a sample.
        all_objects: how many objects there are if `truth` is a sample.

    Raises:
        InvalidInput: the family is unknown, or input size or anchors do not fit it.
    """
    levels = layout(detector, height=height, width=width, options=options)
    found = assign(detector, levels, truth)
    own_iou = MATCHING[detector.family].high if detector.family in MATCHING else None
    sizes = truth.sizes()
    count = len(truth) if all_objects is None else all_objects
    return AssignmentReport(
        model=detector.name,
        family=detector.family,
        input_size=width,
        split=split,
        kind="points" if found.best_iou is None else "anchors",
        own_iou=own_iou,
        images=truth.images,
        all_images=truth.images if all_images is None else all_images,
        all_objects=count,
        sampled=count > len(truth),
        total=_counts(found, np.ones(len(truth), dtype=bool), own_iou),
        by_size={name: _counts(found, sizes == place, own_iou) for place, name in enumerate(SIZES)},
        by_side={name: _counts(found, truth.sides() == place, own_iou) for place, name in enumerate(SIDES)},
        levels=tuple(_level(level, number, found, sizes, width) for number, level in enumerate(levels)),
        mean_best_iou=float(found.best_iou.mean()) if found.best_iou is not None and len(truth) else None,
        anchors=own_anchors(detector, options),
    )


def own_anchors(detector: Detector, options: AnchorOptions | None) -> AnchorOptions:
    """Return the anchors in force, as far as sizes in ratios can tell them: SSD's and YOLOv3's own cannot be told so."""
    options = options or AnchorOptions()
    rule = rule_of(detector, options.neck)
    if not isinstance(rule, AnchorRule):
        return options
    sizes, ratios = options.anchor_sizes or rule.sizes, options.aspect_ratios or rule.ratios
    return AnchorOptions(anchor_sizes=sizes, aspect_ratios=ratios, neck=options.neck)


def _counts(found: Assignment, chosen: np.ndarray, own_iou: float | None) -> ObjectCounts:
    positives = found.owned[chosen].sum(axis=1)
    reached = found.reached[chosen]
    best = None if found.best_iou is None else found.best_iou[chosen]
    return ObjectCounts(
        objects=int(chosen.sum()),
        collided=int((reached & (positives == 0)).sum()),
        unreached=int((~reached & (positives == 0)).sum()),
        unmatched=None if best is None else int((best < np.float32(COMMON_IOU)).sum()),
        unmatched_own=None if best is None or own_iou is None else int((best < np.float32(own_iou)).sum()),
        positives=int(positives.sum()),
    )


def _level(level: Level, number: int, found: Assignment, sizes: np.ndarray, width: int) -> LevelCounts:
    return LevelCounts(
        cell=round(width / level.columns, 2),
        rows=level.rows,
        columns=level.columns,
        per_place=level.per_place,
        positives=int(found.positives[number]),
        ignored=int(found.ignored[number]),
        negatives=int(found.negatives[number]),
        positives_by_size={name: int(found.owned[sizes == place, number].sum()) for place, name in enumerate(SIZES)},
    )
