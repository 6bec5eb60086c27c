"""Anchors for a data set: medians of the sizes and ratios of its boxes, grouped by overlap."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detection_core.assignment.layouts import LEAST_SIDE, AnchorOptions, AnchorRule, DefaultBoxRule, PerLevel, ShapeRule, layout, rule_of
from detection_core.assignment.matching import best_iou
from detection_core.assignment.report import COMMON_IOU
from detection_core.assignment.truth import Truth, sample_images
from detection_core.catalogue.specs import Detector, Neck
from detection_core.schemas.base import InvalidInput, Schema

MOST_OBJECTS = 3000  # that groups are formed of; more do not move a median
FEW_OBJECTS = 800  # on which single moves are tried
STARTS = 6
ROUNDS = 25
# No anchor is smaller than this part of its cell: between the places of a coarse level most objects would be missed.
LEAST_OF_CELL = 0.5
RATIO_LIMITS = (0.1, 10.0)
NUDGES = (1.35, 1.15)
APART = 1.2  # the least quotient of two sizes of a level
# SSD's own default boxes are two squares and pairs of ratios: as many boxes at a place in two sizes.
SSD_SIZES = 2


class AnchorQuality(Schema):
    """How well anchors cover objects: the mean of each object's best IoU, and the share of objects whose best is at least 0.5."""

    mean_best_iou: float
    share_matched: float

    @property
    def score(self) -> float:
        """Return what proposals are ranked by: the sum of both."""
        return self.mean_best_iou + self.share_matched


class AnchorProposal(Schema):
    """Anchors in the form of a recipe's `model_options`, with what they do for `objects` objects of a split."""

    model: str
    input_size: int
    split: str
    objects: int
    options: AnchorOptions
    before: AnchorQuality
    after: AnchorQuality

    @property
    def better(self) -> bool:
        """Say whether the proposal covers the objects better than the anchors that the model has."""
        return self.after.score > self.before.score


@dataclass(frozen=True, eq=False)
class _Shape:
    """What is searched for: `sizes` ascending over all levels, `per_level` to each; `ratios` are those of every level."""

    sizes: np.ndarray
    ratios: np.ndarray


def fit_anchors(
    detector: Detector, truth: Truth, *, height: int, width: int, split: str = "train", neck: Neck | None = None, seed: int = 0
) -> AnchorProposal:
    """Propose sizes for each level and ratios, as many as the detector has now.

    Objects go to the anchor with which they overlap most when both have one centre; each size becomes the median size of its objects and
    each ratio the median ratio, until nothing moves. Of several starts (the detector's own anchors, quantiles, seeded draws) the one is
    taken whose anchors, at their real places, have the highest sum of mean best IoU and share of objects with IoU 0.5 or more; then
    single sizes and ratios are moved where that raises the sum. The same objects and seed give the same proposal.

    Args:
        detector: a catalogue entry with anchors.
        truth: the objects of the split that trains.
        height: of the network input, pixels.
        width: of the network input, pixels.
        split: what the objects are of; only told.
        neck: another than the detector's own, for whose levels anchors are wanted.
        seed: of the draws.

    Raises:
        InvalidInput: the detector has no anchors or takes no neck, or there are no objects.
    """
    rule = rule_of(detector, neck)
    if not isinstance(rule, AnchorRule | DefaultBoxRule | ShapeRule):
        raise InvalidInput(f"{detector.name} has no anchors to fit; choose a detector that has some, such as RetinaNet")
    if len(truth) == 0:
        raise InvalidInput(f"the {split} split has no boxes to fit anchors to; choose a split that has some")
    part = truth.of_images(sample_images(truth.image, truth.images, limit=MOST_OBJECTS, seed=seed))
    levels = layout(detector, height=height, width=width, options=AnchorOptions(neck=neck))
    cells = np.array([max(width / level.columns, height / level.rows) for level in levels])
    begin, per_level = _own_shape(rule, height=height, width=width)
    spans = (part.boxes[:, 2:] - part.boxes[:, :2]).astype(np.float64)
    spans = spans[(spans > 0).all(axis=1)]
    lowest = np.repeat(np.maximum(cells * LEAST_OF_CELL, 2 * LEAST_SIDE), per_level)

    def quality(shape: _Shape, truth: Truth) -> AnchorQuality:
        options = _options(shape, per_level, neck)
        return _quality(best_iou(layout(detector, height=height, width=width, options=options), truth))

    found = [_apart(_grouped(spans, start, lowest), per_level) for start in _starts(spans, begin, seed)] if len(spans) else []
    best = max([begin, *found], key=lambda shape: quality(shape, part).score)
    few = part.of_images(sample_images(part.image, part.images, limit=FEW_OBJECTS, seed=seed))
    best = _nudged(best, lowest, lambda shape: quality(shape, few).score)
    return AnchorProposal(
        model=detector.name,
        input_size=width,
        split=split,
        objects=len(part),
        options=_options(best, per_level, neck),
        before=_quality(best_iou(levels, part)),
        after=quality(best, part),
    )


def _own_shape(rule: AnchorRule | DefaultBoxRule | ShapeRule, *, height: int, width: int) -> tuple[_Shape, int]:
    """Return the detector's own sizes and ratios, and the sizes a level has."""
    if isinstance(rule, AnchorRule):
        return _Shape(np.array(rule.sizes).ravel(), np.array(rule.ratios[0])), len(rule.sizes[0])
    if isinstance(rule, ShapeRule):
        # YOLOv3's pairs of width and height are no sizes in ratios: as many sizes in one ratio, for boxes differ more in size than shape.
        pairs = np.array(rule.shapes, dtype=np.float64).reshape(-1, 2) * (width / rule.side, height / rule.side)
        ratio = np.exp(np.log(pairs[:, 1] / pairs[:, 0]).mean())
        return _Shape(np.sort(np.sqrt(pairs.prod(axis=1))), np.array([ratio])), len(rule.shapes[0])
    side = np.sqrt(height * width)
    scales = np.array(rule.scales) * side
    sizes = np.stack([scales[:-1], np.sqrt(scales[:-1] * scales[1:])], axis=1).ravel()
    # Level 0 tells how many; a coarse level of SSD300 has more of them, which few data sets need.
    ratios = 1 + len(rule.ratios[0])
    return _Shape(sizes, np.array([1.0, 2.0] if ratios == 2 else [0.5, 1.0, 2.0])), len(sizes) if rule.together else SSD_SIZES


def _starts(spans: np.ndarray, begin: _Shape, seed: int) -> list[_Shape]:
    scale, ratio = np.sqrt(spans.prod(axis=1)), spans[:, 1] / spans[:, 0]
    rng = np.random.default_rng(seed)
    middles = [(np.arange(len(part)) + 0.5) / len(part) for part in (begin.sizes, begin.ratios)]
    starts = [begin, _Shape(np.quantile(scale, middles[0]), np.quantile(ratio, middles[1]))]
    starts.append(_Shape(starts[1].sizes, begin.ratios))
    while len(starts) < STARTS:
        starts.append(_Shape(np.sort(rng.choice(scale, len(begin.sizes))), np.sort(rng.choice(ratio, len(begin.ratios)))))
    return starts


def _grouped(spans: np.ndarray, start: _Shape, lowest: np.ndarray) -> _Shape:
    """Move sizes and ratios to the medians of their objects until nothing moves."""
    scale, tall = np.log(spans).mean(axis=1), np.log(spans[:, 1] / spans[:, 0])
    sizes, ratios = np.maximum(start.sizes, lowest), np.clip(start.ratios, *RATIO_LIMITS)
    for _ in range(ROUNDS):
        size, ratio = _closest(spans, sizes, ratios)
        moved_sizes = np.maximum(np.sort(_medians(scale, size, sizes)), lowest)
        moved_ratios = np.clip(np.sort(_medians(tall, ratio, ratios)), *RATIO_LIMITS)
        if np.allclose(moved_sizes, sizes) and np.allclose(moved_ratios, ratios):
            break
        sizes, ratios = moved_sizes, moved_ratios
    return _Shape(sizes, ratios)


def _nudged(shape: _Shape, lowest: np.ndarray, score: Callable[[_Shape], float]) -> _Shape:
    """Move one size or ratio at a time by a factor, as long as the score rises: groups know nothing of where the places are."""
    reached = score(shape)
    for factor, name in itertools.product(NUDGES, ("sizes", "ratios")):
        for place, by in itertools.product(range(len(getattr(shape, name))), (factor, 1 / factor)):
            values = getattr(shape, name).copy()
            values[place] *= by
            tried = replace(shape, **{name: np.maximum(values, lowest) if name == "sizes" else np.clip(values, *RATIO_LIMITS)})
            if (new := score(tried)) > reached:
                shape, reached = tried, new
    return shape


def _apart(shape: _Shape, per_level: int) -> _Shape:
    """Keep the sizes of one level apart: twice the same anchor learns nothing more."""
    sizes = shape.sizes.copy()
    for place in range(1, len(sizes)):
        if place % per_level:
            sizes[place] = max(sizes[place], sizes[place - 1] * APART)
    return _Shape(sizes, shape.ratios)


def _closest(spans: np.ndarray, sizes: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each object the size and the ratio of the anchor with the smallest 1 - IoU, both around one centre."""
    wide = (sizes[:, None] / np.sqrt(ratios)).ravel()
    high = (sizes[:, None] * np.sqrt(ratios)).ravel()
    inside = np.minimum(spans[:, :1], wide) * np.minimum(spans[:, 1:], high)
    overlap = inside / (spans.prod(axis=1)[:, None] + wide * high - inside)
    return np.divmod(overlap.argmax(axis=1), len(ratios))  # type: ignore[return-value]


def _medians(logs: np.ndarray, group: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the median of each group; one without members stays where it was."""
    return np.array([np.exp(np.median(logs[group == place])) if (group == place).any() else value for place, value in enumerate(before)])


def _options(shape: _Shape, per_level: int, neck: Neck | None) -> AnchorOptions:
    sizes: Sequence[Sequence[float]] = np.round(shape.sizes, 1).reshape(-1, per_level).tolist()
    ratios = tuple(sorted(np.round(shape.ratios, 2).tolist()))
    levels: PerLevel = tuple(tuple(sorted(level)) for level in sizes)
    return AnchorOptions(anchor_sizes=levels, aspect_ratios=(ratios,) * len(levels), neck=neck)


def _quality(best: np.ndarray) -> AnchorQuality:
    return AnchorQuality(mean_best_iou=float(best.mean()), share_matched=float((best >= np.float32(COMMON_IOU)).mean()))
