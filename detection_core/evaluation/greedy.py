"""COCO's greedy matching at IoU 0.5 for all images at once; what the error analysis stands on.

A detection, in order of score, takes the free ground truth of its class that it overlaps most. Crowd boxes are no objects: what lies in one
of its class is neither right nor wrong. Because of the order, the matches of the detections above a score do not depend on those below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection_core.evaluation.coco_metrics import MOST_DETECTIONS, detection_table
from detection_core.schemas.base import InvalidInput

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1
PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Case:
    """Ground truth and detections as arrays. Images are in order of id, a label is the place of a class in order of category id.

    Ground truth is in order of image, then of the annotations; detections in order of image, then of falling score, then as given.
    Boxes are xywh in pixels. `annotation` and `row` are the places in the inputs.
    """

    images: tuple[dict[str, Any], ...]
    classes: tuple[str, ...]
    truth_image: np.ndarray  # int64 [n], place in `images`
    truth_label: np.ndarray  # int64 [n]
    truth_boxes: np.ndarray  # float64 [n, 4]
    truth_area: np.ndarray  # float64 [n]
    truth_crowd: np.ndarray  # bool [n]
    annotation: np.ndarray  # int64 [n]
    image: np.ndarray  # int64 [m]
    label: np.ndarray  # int64 [m]
    boxes: np.ndarray  # float64 [m, 4]
    scores: np.ndarray  # float64 [m]
    row: np.ndarray  # int64 [m]


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and a ground truth of one image with IoU >= 0.1; of a crowd, the share of the detection that lies in it."""

    detection: np.ndarray  # int64 [p]
    truth: np.ndarray  # int64 [p]
    iou: np.ndarray  # float64 [p]


@dataclass(frozen=True)
class Matches:
    """What became of each detection of a case: `truth` is the ground truth that it finds or -1; `hidden` says that a crowd excuses it."""

    truth: np.ndarray  # int64 [m]
    hidden: np.ndarray  # bool [m]

    @property
    def right(self) -> np.ndarray:
        """Whether a detection finds an object, bool [m]."""
        return self.truth >= 0

    def found(self, truths: int) -> np.ndarray:
        """Return which of the `truths` boxes of ground truth were found, bool [truths]."""
        found = np.zeros(truths, dtype=bool)
        found[self.truth[self.right]] = True
        return found


def make_case(ground_truth: dict[str, Any], detections: np.ndarray | list[dict[str, Any]], *, above: float | None = None) -> Case:
    """Return ground truth and detections as arrays.

    Detections of images or classes that the ground truth does not have are left out, and those after the 100 best of an image and class.

    Args:
        ground_truth: COCO dict with images, categories and annotations (`bbox` xywh, `area`, `iscrowd`).
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id; or COCO result dicts.
        above: where given, only detections with a larger score are taken.
    """
    images = tuple(sorted(ground_truth["images"], key=lambda image: image["id"]))
    categories = sorted(ground_truth["categories"], key=lambda entry: entry["id"])
    image_ids = np.array([image["id"] for image in images], dtype=np.int64)
    category_ids = np.array([entry["id"] for entry in categories], dtype=np.int64)
    truth = _truth_arrays(ground_truth["annotations"], image_ids, category_ids)
    found = _detection_arrays(detection_table(detections), image_ids, category_ids, above)
    return Case(images, tuple(entry["name"] for entry in categories), *truth, *found)


def overlaps_of(case: Case) -> Overlaps:
    """Return the pairs of detections and ground truth of one image, whatever their class, that overlap by IoU 0.1 or more."""
    parts = [_overlapping(case, detection, truth) for detection, truth in _pairs(case)]
    if not parts:
        return Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Overlaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def match(case: Case, overlaps: Overlaps, *, any_class: bool = False) -> Matches:
    """Match greedily at IoU 0.5.

    At equal overlap the later ground truth is taken, as COCO does; with `any_class`, one of the detection's own class before that.

    Args:
        any_class: match whatever the class, to see what is taken for what. A crowd excuses detections of its own class only.
    """
    own = case.label[overlaps.detection] == case.truth_label[overlaps.truth]
    crowd = case.truth_crowd[overlaps.truth]
    near = overlaps.iou >= FOREGROUND_IOU
    kept = near & ~crowd & (own | any_class)
    cell = case.image if any_class else case.image * len(case.classes) + case.label
    truth = _take_greedily(overlaps.detection[kept], overlaps.truth[kept], overlaps.iou[kept], own[kept], cell, len(case.truth_image))
    hidden = np.zeros(len(case.scores), dtype=bool)
    hidden[overlaps.detection[near & crowd & own]] = True
    return Matches(truth, hidden & (truth < 0))


def matched_case(
    ground_truth: dict[str, Any], detections: np.ndarray | list[dict[str, Any]], *, above: float | None = None
) -> tuple[Case, Matches]:
    """Return the case and its matches within classes."""
    case = make_case(ground_truth, detections, above=above)
    return case, match(case, overlaps_of(case))


def at_least(score_thresh: float) -> float:
    """Return the number just under `score_thresh`, so that scores above it are those of at least `score_thresh`."""
    return float(np.nextafter(score_thresh, -np.inf))


def refuse_scores_outside_unit(scores: np.ndarray) -> None:
    """Raise InvalidInput where scores are not 0 to 1; AP needs only their order, an operating point and calibration need shares."""
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise InvalidInput(
            f"scores run from {scores.min():.4g} to {scores.max():.4g}; give scores from 0 to 1, e.g. after a sigmoid, "
            "to get an operating point and calibration"
        )


def _truth_arrays(annotations: list[dict[str, Any]], image_ids: np.ndarray, category_ids: np.ndarray) -> tuple[np.ndarray, ...]:
    image = _places(image_ids, np.array([entry["image_id"] for entry in annotations], dtype=np.int64))
    label = _places(category_ids, np.array([entry["category_id"] for entry in annotations], dtype=np.int64))
    boxes = np.array([entry["bbox"] for entry in annotations], dtype=np.float64).reshape(-1, 4)
    area = np.array([entry["area"] for entry in annotations], dtype=np.float64)
    crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in annotations], dtype=bool)
    known = np.flatnonzero((image >= 0) & (label >= 0))
    order = known[np.argsort(image[known], kind="stable")]
    return image[order], label[order], boxes[order], area[order], crowd[order], order


def _detection_arrays(table: np.ndarray, image_ids: np.ndarray, category_ids: np.ndarray, above: float | None) -> tuple[np.ndarray, ...]:
    image, label = _places(image_ids, table[:, 0].astype(np.int64)), _places(category_ids, table[:, 6].astype(np.int64))
    kept = (image >= 0) & (label >= 0)
    if above is not None:
        kept &= table[:, 5] > above
    rows = np.flatnonzero(kept)
    order = rows[np.lexsort((-table[rows, 5], image[rows]))]
    order = order[_rank_within(image[order] * len(category_ids) + label[order]) < MOST_DETECTIONS]
    return image[order], label[order], table[order, 1:5], table[order, 5], order


def _places(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the place of each of `wanted` in the sorted `known`, -1 where it is not there."""
    if not len(known):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def _rank_within(keys: np.ndarray) -> np.ndarray:
    """Return for each entry how many earlier ones have the same key."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return ranks


def _pairs(case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every pair of a detection and a ground truth of one image, about a million at a time, for the memory's sake."""
    first_truth = np.searchsorted(case.truth_image, np.arange(len(case.images) + 1))
    truths = np.diff(first_truth)[case.image]  # of the image of each detection
    ends = np.cumsum(truths)
    start = 0
    while start < len(truths):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")), start + 1)
        detection = np.repeat(np.arange(start, stop), truths[start:stop])
        within = np.arange(len(detection)) - np.repeat(ends[start:stop] - truths[start:stop] - done, truths[start:stop])
        yield detection, first_truth[case.image[detection]] + within
        start = stop


def _overlapping(case: Case, detection: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, other = case.boxes[detection].T, case.truth_boxes[truth].T
    width = np.minimum(one[0] + one[2], other[0] + other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[1] + one[3], other[1] + other[3]) - np.maximum(one[1], other[1])
    touching = np.flatnonzero((width > 0) & (height > 0))
    detection, truth, common = detection[touching], truth[touching], width[touching] * height[touching]
    area = case.boxes[detection, 2] * case.boxes[detection, 3]
    whole = np.where(case.truth_crowd[truth], area, area + case.truth_boxes[truth, 2] * case.truth_boxes[truth, 3] - common)
    iou = common / whole
    near = iou >= BACKGROUND_IOU
    return detection[near], truth[near], iou[near]


def _take_greedily(detection: np.ndarray, truth: np.ndarray, iou: np.ndarray, own: np.ndarray, cell: np.ndarray, truths: int) -> np.ndarray:
    """Return the truth that each detection takes, -1 for none. Detections of different cells never want the same truth.

    Round n decides the n-th detection of every cell at once: there are as many rounds as detections in the fullest cell, not as there
    are detections.
    """
    wanting = np.unique(detection)
    turn = np.full(len(cell), -1)
    turn[wanting] = _rank_within(cell[wanting])
    order = np.lexsort((truth, own, iou, detection, turn[detection]))
    detection, truth = detection[order], truth[order]
    bounds = np.searchsorted(turn[detection], np.arange(turn.max(initial=-1) + 2))
    taken, matched = np.zeros(truths, dtype=bool), np.full(len(cell), -1)
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        free = start + np.flatnonzero(~taken[truth[start:stop]])
        best = free[np.append(detection[free[1:]] != detection[free[:-1]], True)] if len(free) else free
        matched[detection[best]] = truth[best]
        taken[truth[best]] = True
    return matched
