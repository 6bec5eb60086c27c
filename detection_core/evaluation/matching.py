"""Which detection finds which object, image by image: COCO's greedy matching, once, so that AP can be averaged again under any weights.

The same rules as pycocotools: at most 100 detections of a class an image, the best score first; each takes the free object that it overlaps
most, counted objects before ignored ones; a crowd may be taken by many. Done for all images at once, one detection of every image and class
in a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from detection_core.evaluation.coco_metrics import MOST_DETECTIONS, SMALL_AREA, detection_table

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Square pixels that count as large as this; others are ignored. The bounds are COCO's own.
AREA_ALL = (0.0, 1e5**2)
AREA_SMALL = (0.0, float(SMALL_AREA))
PAIRS_AT_ONCE = 1 << 20

_BITS = (1 << np.arange(len(IOU_THRESHOLDS))).astype(np.uint16)
_EVERY_BIT = np.uint16((1 << len(IOU_THRESHOLDS)) - 1)


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """One class: its detections best first, without those that no threshold counts, and its objects.

    `images` int32 [n] place of the image in `Matches.image_ids`; `true` and `ignored` uint16 [n], bit t for the IoU threshold number t:
    the detection finds an object, is not counted; `objects` int32 [g] the place of each counted object's image.
    """

    images: np.ndarray
    true: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


@dataclass(frozen=True, eq=False)
class Matches:
    """All that the averages need: `all_sizes` and `small` hold one entry a class, in order of category id; `image_ids` ascend."""

    image_ids: np.ndarray
    all_sizes: tuple[ClassMatches, ...]
    small: tuple[ClassMatches, ...]


def match(ground_truth: dict[str, Any], detections: np.ndarray | list[dict[str, Any]]) -> Matches:
    """Match detections to ground truth at IoU 0.50 to 0.95, for objects of all sizes and for small ones.

    Args:
        ground_truth: COCO dict as `coco_metrics.coco_metrics` takes it.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id; or COCO result dicts. Rows of images or categories
            that the ground truth does not have do not count.
    """
    image_ids = np.unique(np.array([image["id"] for image in ground_truth["images"]], dtype=np.int64))
    category_ids = np.unique(np.array([entry["id"] for entry in ground_truth["categories"]], dtype=np.int64))
    objects = _objects(ground_truth["annotations"], image_ids, category_ids)
    found = _best(detection_table(detections), image_ids, category_ids)
    overlaps = _overlaps(objects, found)
    by_area = [_matches_by_class(objects, found, overlaps, area, len(image_ids), len(category_ids)) for area in (AREA_ALL, AREA_SMALL)]
    return Matches(image_ids, *by_area)


@dataclass(frozen=True, eq=False)
class _Objects:
    """Ground truth sorted by cell (class * images + image), as it comes within one."""

    cells: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class _Found:
    """Detections sorted by cell, the best score first within one."""

    cells: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Every detection and object of one cell that overlap by 0.5 or more, in order of detection."""

    detections: np.ndarray
    objects: np.ndarray
    ious: np.ndarray


def _objects(annotations: list[dict[str, Any]], image_ids: np.ndarray, category_ids: np.ndarray) -> _Objects:
    rows = [(entry["image_id"], entry["category_id"], entry["area"], entry.get("iscrowd", 0), *entry["bbox"]) for entry in annotations]
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    cells, known = _cells(table[:, 0], table[:, 1], image_ids, category_ids)
    order = np.argsort(cells[known], kind="stable")
    table = table[known][order]
    return _Objects(cells[known][order], table[:, 4:8], table[:, 2], table[:, 3] > 0)


def _best(table: np.ndarray, image_ids: np.ndarray, category_ids: np.ndarray) -> _Found:
    cells, known = _cells(table[:, 0], table[:, 6], image_ids, category_ids)
    cells, table = cells[known], table[known]
    order = np.lexsort((-table[:, 5], cells))  # stable: of equal scores the first in the file stays first
    cells = cells[order]
    order = order[_places(cells) < MOST_DETECTIONS]
    cells = cells[_places(cells) < MOST_DETECTIONS]
    return _Found(cells, table[order, 1:5], table[order, 5])


def _cells(images: np.ndarray, categories: np.ndarray, image_ids: np.ndarray, category_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class * images + image by places, and which rows have both."""
    image, image_known = _place_of(images, image_ids)
    category, category_known = _place_of(categories, category_ids)
    return category * len(image_ids) + image, image_known & category_known


def _place_of(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(known):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return places, known[places] == values


def _places(sorted_groups: np.ndarray) -> np.ndarray:
    """Return the place of each entry within its group, from 0."""
    return np.arange(len(sorted_groups)) - np.searchsorted(sorted_groups, sorted_groups)


def _overlaps(objects: _Objects, found: _Found) -> _Overlaps:
    first = np.searchsorted(objects.cells, found.cells)
    counts = np.searchsorted(objects.cells, found.cells, side="right") - first
    parts = [_overlaps_of(objects, found, first, counts, *span) for span in _spans(counts)]
    detections, places, ious = (np.concatenate(columns) for columns in zip(*parts, strict=True)) if parts else (np.zeros(0, np.int64),) * 3
    return _Overlaps(detections, places, ious)


def _spans(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the detections so that no part has many more pairs than fit the cache."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
        yield start, end
        start = end


def _overlaps_of(
    objects: _Objects, found: _Found, first: np.ndarray, counts: np.ndarray, start: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    detections = np.repeat(np.arange(start, end), counts[start:end])
    places = np.arange(len(detections)) - np.repeat(np.cumsum(counts[start:end]) - counts[start:end], counts[start:end])
    places += first[detections]
    ious = _iou(found.boxes[detections], objects.boxes[places], objects.crowd[places])
    near = ious >= IOU_THRESHOLDS[0]
    return detections[near], places[near], ious[near]


def _iou(boxes: np.ndarray, objects: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes xywh row by row; with a crowd, the share of the detection that lies in it. The steps of COCO's C code."""
    low = np.maximum(boxes[:, :2], objects[:, :2])
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], objects[:, :2] + objects[:, 2:]) - low
    shared = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    own = boxes[:, 2] * boxes[:, 3]
    union = np.where(crowd, own, own + objects[:, 2] * objects[:, 3] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _matches_by_class(
    objects: _Objects, found: _Found, overlaps: _Overlaps, area: tuple[float, float], images: int, classes: int
) -> tuple[ClassMatches, ...]:
    left_out = objects.crowd | (objects.areas < area[0]) | (objects.areas > area[1])
    matched, ignored = _greedy(objects, found, overlaps, left_out)
    own = found.boxes[:, 2] * found.boxes[:, 3]
    outside = (own < area[0]) | (own > area[1])
    ignored |= np.where(outside, ~matched & _EVERY_BIT, 0).astype(np.uint16)
    kept = np.flatnonzero(ignored != _EVERY_BIT)
    label = found.cells[kept] // max(images, 1)
    # Stable, and rows come in order of image: of equal scores in two images, the lower id's comes first.
    kept = kept[np.lexsort((-found.scores[kept], label))]
    label.sort()
    image, true, ignored = (found.cells[kept] % max(images, 1)).astype(np.int32), (matched & ~ignored)[kept], ignored[kept]
    counted = objects.cells[~left_out]
    edges = np.arange(classes + 1)
    ends, object_ends = np.searchsorted(label, edges), np.searchsorted(counted // max(images, 1), edges)
    places = (counted % max(images, 1)).astype(np.int32)
    return tuple(
        ClassMatches(
            images=image[ends[index] : ends[index + 1]],
            true=true[ends[index] : ends[index + 1]],
            ignored=ignored[ends[index] : ends[index + 1]],
            objects=places[object_ends[index] : object_ends[index + 1]],
        )
        for index in range(classes)
    )


def _greedy(objects: _Objects, found: _Found, overlaps: _Overlaps, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return uint16 bits by threshold for every detection: it took an object; it took one that is left out."""
    order = np.lexsort((-overlaps.objects, -overlaps.ious, left_out[overlaps.objects], overlaps.detections))
    detections, places, ious = overlaps.detections[order], overlaps.objects[order], overlaps.ious[order]
    matched, ignored = np.zeros(len(found.cells), np.uint16), np.zeros(len(found.cells), np.uint16)
    taken = np.zeros((len(objects.cells), len(IOU_THRESHOLDS)), bool)
    for step in _steps(found.cells, detections):
        detection, place = detections[step], places[step]
        free = (ious[step, None] >= IOU_THRESHOLDS) & (~taken[place] | objects.crowd[place, None])
        starts = np.flatnonzero(np.diff(detection, prepend=-1))
        rows = np.where(free, np.arange(len(step))[:, None], len(step))
        chosen = np.minimum.reduceat(rows, starts, axis=0)  # the first of each detection's objects that is free, [d, thresholds]
        hit = chosen < len(step)
        took = place[np.minimum(chosen, len(step) - 1)]
        taken[took[hit], np.nonzero(hit)[1]] = True
        matched[detection[starts]] = hit @ _BITS
        ignored[detection[starts]] = (hit & left_out[took]) @ _BITS
    return matched, ignored


def _steps(cells: np.ndarray, detections: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of the first detection of every cell that overlaps anything, then of the second, and so on."""
    distinct, row_of = np.unique(detections, return_inverse=True)
    turn = _places(cells[distinct])[row_of]
    order = np.argsort(turn, kind="stable")
    ends = np.searchsorted(turn[order], np.arange(turn.max(initial=-1) + 2))
    for start, end in pairwise(ends.tolist()):
        yield order[start:end]
