"""Which places learn which ground truth by where its middle lies: FCOS's points, the cells of YOLOv1 and YOLOv3, FastestDet's corners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection_core.assignment.layouts import Level
from detection_core.assignment.matching import Assignment, best_iou, over_by_anchor
from detection_core.assignment.truth import Truth

# A point counts as central up to this many sides from the middle of an object (FCOS, section 3.4 of arXiv 2006.09214).
CENTRE_RADIUS = 1.5
# A level learns objects whose farthest side is this many of its sides away; the finest has no lower limit, the coarsest no upper.
NEAREST_SIDE, FARTHEST_SIDE = 4, 8
_FAR_AREA = np.float32(1e8)  # torchvision ranks by this less the area, which in float32 rounds areas to 8 square pixels


def match_points(levels: Sequence[Level], truth: Truth, *, radius: float = CENTRE_RADIUS) -> Assignment:
    """Assign every point of every image as FCOS's training does: central, inside the object, in the level's range; the smaller wins.

    Args:
        levels: one square a cell, whose middle is the point and whose side is the level's.
        truth: the objects of all images.
        radius: in sides of the level, from the middle of an object.
    """
    owned = np.zeros((len(truth), len(levels)), dtype=np.int64)
    reached = np.zeros(len(truth), dtype=bool)
    positives = np.zeros(len(levels), dtype=np.int64)
    for number in range(len(levels)):
        index, key = _candidates(levels, number, truth, radius)
        reached[index] = True
        order = np.argsort(key, kind="stable")  # objects stay in their order
        index, key = index[order], key[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        if len(starts) == 0:
            continue
        rank = _FAR_AREA - _areas(truth)[index]
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(key)))
        winning = np.flatnonzero(rank == np.maximum.reduceat(rank, starts)[group])
        first = winning[np.flatnonzero(np.diff(group[winning], prepend=-1))]
        owned[:, number] = np.bincount(index[first], minlength=len(truth))
        positives[number] = len(starts)
    total = truth.images * np.array([level.count for level in levels], dtype=np.int64)
    return Assignment(owned, reached, None, positives, np.zeros(len(levels), dtype=np.int64), total - positives)


def match_surrounding(level: Level, truth: Truth) -> Assignment:
    """Assign the four points around the middle of each object to it, as far as they are on the grid; the smallest, then last, wins.

    FastestDet's training picks among the four by what the network answers at that moment; here all four count.

    Args:
        level: one square a cell, whose middle is the point and whose side is the distance to the next.
        truth: the objects of all images.
    """
    side = level.x2[0, 0] - level.x1[0, 0]
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2 / side
    place = np.floor(middle).astype(np.int64)[:, None] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # [n, 4, 2] column, row
    inside = (place >= 0).all(axis=2) & (place[..., 0] < level.columns) & (place[..., 1] < level.rows)
    index, corner = np.nonzero(inside)
    key = (truth.image[index] * level.rows + place[index, corner, 1]) * level.columns + place[index, corner, 0]
    order = np.lexsort((-index, _areas(truth)[index], key))
    kept, first = np.unique(key[order], return_index=True)
    owned = np.bincount(index[order][first], minlength=len(truth))[:, None]
    positives = np.array([len(kept)])
    total = np.array([truth.images * level.count])
    return Assignment(owned, inside.any(axis=1), None, positives, np.zeros(1, dtype=np.int64), total - positives)


def match_holding(level: Level, truth: Truth) -> Assignment:
    """Assign the one cell that holds the middle of each object to it; the smallest, then last, wins.

    One of the boxes of a cell learns its object, by what the network answers at that moment; the others count as negatives.

    Args:
        level: the cells, each as often as it tells boxes.
        truth: the objects of all images.
    """
    first = _holding(level, truth) * level.per_place
    kept = _smallest_of_each(first, truth)
    owned = np.bincount(kept, minlength=len(truth))[:, None]
    positives = np.array([len(kept)])
    total = np.array([truth.images * level.count])
    return Assignment(owned, np.ones(len(truth), dtype=bool), None, positives, np.zeros(1, dtype=np.int64), total - positives)


def match_shapes(levels: Sequence[Level], truth: Truth, *, ignored_above: float = 0.5) -> Assignment:
    """Assign to each object the anchor of the likest shape around the cell that holds its middle, as YOLOv3's training does.

    An anchor that two objects want learns the smaller, then last. Others that overlap an object by more than `ignored_above` are ignored.

    Args:
        levels: the anchors, finest level first.
        truth: the objects of all images.
    """
    spans = truth.boxes[:, 2:] - truth.boxes[:, :2]
    begins = np.cumsum([0, *(truth.images * level.count for level in levels)])
    keys, overlaps = [], []
    for begin, level in zip(begins, levels, strict=False):
        cell = _holding(level, truth)
        row, column = np.divmod(cell % (level.rows * level.columns), level.columns)
        wide, high = (level.x2[:, column] - level.x1[:, column]).T, (level.y2[:, row] - level.y1[:, row]).T  # [n, boxes]
        shared = np.minimum(wide, spans[:, :1]) * np.minimum(high, spans[:, 1:])
        overlaps.append(shared / (wide * high + spans.prod(axis=1, keepdims=True) - shared))
        keys.append(begin + cell[:, None] * level.per_place + np.arange(level.per_place))
    likest = np.concatenate(overlaps, axis=1).argmax(axis=1)
    wanted = np.concatenate(keys, axis=1)[np.arange(len(truth)), likest]
    kept = _smallest_of_each(wanted, truth)
    owned = np.zeros((len(truth), len(levels)), dtype=np.int64)
    owned[kept, np.searchsorted(begins, wanted[kept], side="right") - 1] = 1
    ignored = np.zeros(len(levels), dtype=np.int64)
    for number, place, key, high in over_by_anchor(levels, truth, ignored_above):
        anchors = begins[number] + key * levels[number].per_place + place
        ignored[number] += int(((high > np.float32(ignored_above)) & ~np.isin(anchors, wanted)).sum())
    positives = owned.sum(axis=0)
    total = truth.images * np.array([level.count for level in levels], dtype=np.int64)
    reached = np.ones(len(truth), dtype=bool)
    return Assignment(owned, reached, best_iou(levels, truth), positives, ignored, total - positives - ignored)


def _holding(level: Level, truth: Truth) -> np.ndarray:
    """Return the cell of each object, counted row by row over all images."""
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    column = np.clip(np.floor(middle[:, 0] / np.float32(level.cell_width)), 0, level.columns - 1).astype(np.int64)
    row = np.clip(np.floor(middle[:, 1] / np.float32(level.cell_height)), 0, level.rows - 1).astype(np.int64)
    return (truth.image * level.rows + row) * level.columns + column


def _smallest_of_each(wanted: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the objects that keep the place they want: of those that want the same the smallest, then last."""
    order = np.lexsort((-np.arange(len(truth)), _areas(truth), wanted))
    return order[np.unique(wanted[order], return_index=True)[1]]


def _areas(truth: Truth) -> np.ndarray:
    return (truth.boxes[:, 2] - truth.boxes[:, 0]) * (truth.boxes[:, 3] - truth.boxes[:, 1])


def _candidates(levels: Sequence[Level], number: int, truth: Truth, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of an object and a point that may learn it: indices of objects [m] and keys of points over all images [m]."""
    level = levels[number]
    point_x, point_y = (level.x1[0] + level.x2[0]) / 2, (level.y1[0] + level.y2[0]) / 2
    side = level.x2[0, 0] - level.x1[0, 0]
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    near = np.float32(radius) * side
    column, index_x = _around(middle[:, 0], point_x, float(near))
    row, index_y = _around(middle[:, 1], point_y, float(near))
    index = np.arange(len(truth))[:, None, None]
    index, column, row = (part.ravel() for part in np.broadcast_arrays(index, column[:, None, :], row[:, :, None]))
    known = np.broadcast_to(index_x[:, None, :] & index_y[:, :, None], (len(truth), index_y.shape[1], index_x.shape[1])).ravel()
    index, column, row = index[known], column[known], row[known]
    x, y, box = point_x[column], point_y[row], truth.boxes[index]
    central = np.maximum(np.abs(x - middle[index, 0]), np.abs(y - middle[index, 1])) < near
    reach = np.stack([x - box[:, 0], y - box[:, 1], box[:, 2] - x, box[:, 3] - y])
    lower = np.float32(0) if number == 0 else side * NEAREST_SIDE
    upper = np.float32(np.inf) if number == len(levels) - 1 else side * FARTHEST_SIDE
    farthest = reach.max(axis=0, initial=0)
    kept = central & (reach.min(axis=0, initial=np.inf) > 0) & (farthest > lower) & (farthest < upper)
    index, column, row = index[kept], column[kept], row[kept]
    return index, (truth.image[index] * level.rows + row) * level.columns + column


def _around(middle: np.ndarray, points: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the points at most `near` from each middle: indices [n, k], clipped, and which of them are points of the grid."""
    step = float(points[1] - points[0]) if len(points) > 1 else 1.0
    span = int(2 * near // step) + 3
    first = np.ceil((middle.astype(np.float64) - near - float(points[0])) / step).astype(np.int64) - 1
    index = first[:, None] + np.arange(span)
    inside = (index >= 0) & (index < len(points))
    return np.clip(index, 0, len(points) - 1), inside
