"""Which anchors learn which ground truth: torchvision's matchers in numpy, at the speed of a page.

Anchors stand on grids, so only those around an object are looked at; the few images where that is not enough are matched whole.
Overlaps are computed in float32 in torchvision's order of operations, so that the results are equal, not just close.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection_core.assignment.layouts import Level
from detection_core.assignment.truth import Truth

NEGATIVE, IGNORED = -1, -2
# Overlaps held in memory at once.
CHUNK = 1 << 19
_SLACK = 1e-3  # pixels by which a window is wider than it must be


@dataclass(frozen=True)
class Rule:
    """When an anchor is positive: its best overlap is at least `high`; under `low` it is negative, between them it is left out.

    The best anchors of an object are positive however low their overlap. With `keeps_best` (SSD) the first of them learns that
    object; otherwise all of them learn the object that they overlap most.
    """

    high: float
    low: float
    keeps_best: bool = False


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a training would do with the ground truth.

    `owned` int64 [n, levels]: the positives that learn each object. `reached` bool [n]: whether any place could. `best_iou` float32
    [n]: overlap with the best anchor, None where there are no anchors. `positives`, `ignored`, `negatives` int64 [levels], over all
    images.
    """

    owned: np.ndarray
    reached: np.ndarray
    best_iou: np.ndarray | None
    positives: np.ndarray
    ignored: np.ndarray
    negatives: np.ndarray


@dataclass(frozen=True, eq=False)
class _Base:
    """One box of one level over its grid: column borders x1, x2 and row borders y1, y2, float32."""

    level: int
    place: int
    per_place: int
    x1: np.ndarray
    x2: np.ndarray
    y1: np.ndarray
    y2: np.ndarray

    @property
    def width(self) -> float:
        return float(self.x2[0]) - float(self.x1[0])

    @property
    def height(self) -> float:
        return float(self.y2[0]) - float(self.y1[0])


@dataclass(frozen=True, eq=False)
class _Rows:
    """Pairs of an object and a cell of one base: indices [m] each, and the overlap float32 [m]."""

    truth: np.ndarray
    column: np.ndarray
    row: np.ndarray
    iou: np.ndarray

    def only(self, kept: np.ndarray) -> _Rows:
        return _Rows(self.truth[kept], self.column[kept], self.row[kept], self.iou[kept])


def match(levels: Sequence[Level], truth: Truth, rule: Rule) -> Assignment:
    """Assign every anchor of every image as the training does.

    Args:
        levels: the anchors, finest level first.
        truth: the objects of all images.
        rule: of the family, see MATCHING in `report`.
    """
    bases = _bases(levels)
    near = _nearest(bases, truth)
    untouched = np.zeros(truth.images, dtype=bool)
    untouched[truth.image[near.max(axis=1, initial=0.0) <= 0]] = True
    if not untouched.any():
        return _match_sparse(levels, bases, truth, near, rule)
    # An object that no anchor touches turns torchvision's rule upside down (every anchor is "best"); such images are matched whole.
    whole = untouched[truth.image]
    parts = (
        (whole, _match_whole(levels, truth.of_images(np.flatnonzero(untouched)), rule)),
        (~whole, _match_sparse(levels, bases, truth.of_images(np.flatnonzero(~untouched)), near[~whole], rule)),
    )
    return _merged(parts, len(truth), len(levels))


def best_iou(levels: Sequence[Level], truth: Truth) -> np.ndarray:
    """Return the overlap of each object with its best anchor, float32 [n]."""
    return _nearest(_bases(levels), truth).max(axis=1, initial=0.0)


def over_by_anchor(levels: Sequence[Level], truth: Truth, least: float) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield for each box of each level the anchors that overlap an object by at least `least`.

    Level, place of the box at its cell, then the cells int64 [m], counted row by row over all images, and the highest overlap of each.
    """
    for base in _bases(levels):
        keys, high, _ = _by_anchor(base, _over(base, truth, least), truth)
        yield base.level, base.place, keys, high


def pairs_looked_at(levels: Sequence[Level], truth: Truth, rule: Rule) -> int:
    """Return how many overlaps `match` would compute, about: what its time goes with."""
    bases = _bases(levels)
    close = _close(_nearest(bases, truth))
    total = 0
    for number, base in enumerate(bases):
        best = np.flatnonzero(close[:, number])
        for chosen, reach in (_within(base, truth, rule.low), (best, _free(base, truth, best))):
            _, columns = _windows(truth.boxes[chosen, 0::2], reach[:, 0], base.x1, base.x2)
            _, rows = _windows(truth.boxes[chosen, 1::2], reach[:, 1], base.y1, base.y2)
            total += int((columns * rows).sum())
    return total


def match_boxes(anchors: np.ndarray, boxes: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Match the anchors of one image against all its objects, without any shortcut.

    Args:
        anchors: float32 [m, 4] xyxy.
        boxes: float32 [n, 4] xyxy, n >= 1.

    Returns:
        For each anchor the index of its object, NEGATIVE or IGNORED; and each object's best overlap, float32 [n].
    """
    best, owner = np.empty(len(anchors), dtype=np.float32), np.empty(len(anchors), dtype=np.int64)
    top, first = np.full(len(boxes), -1, dtype=np.float32), np.zeros(len(boxes), dtype=np.int64)
    for begin, overlap in _overlaps(anchors, boxes):
        part = slice(begin, begin + overlap.shape[1])
        best[part], owner[part] = overlap.max(axis=0), overlap.argmax(axis=0)
        better = overlap.max(axis=1) > top
        first[better] = begin + overlap.argmax(axis=1)[better]
        top = np.maximum(top, overlap.max(axis=1))
    matches = np.where(best < np.float32(rule.low), NEGATIVE, np.where(best < np.float32(rule.high), IGNORED, owner))
    if rule.keeps_best:
        matches[first] = np.arange(len(boxes))  # of two with the same best anchor the later keeps it
        return matches, top
    for begin, overlap in _overlaps(anchors, boxes):
        among_best = begin + np.flatnonzero((overlap == top[:, None]).any(axis=0))
        matches[among_best] = owner[among_best]
    return matches, top


def _overlaps(anchors: np.ndarray, boxes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield IoU [n, some anchors] with the index of the first of them, as many as memory should hold."""
    sides = tuple(boxes[:, [side]] for side in range(4))
    step = max(1, CHUNK // len(boxes))
    for begin in range(0, len(anchors), step):
        yield begin, np.nan_to_num(_overlap(sides, tuple(anchors[begin : begin + step].T)))


def _match_whole(levels: Sequence[Level], truth: Truth, rule: Rule) -> Assignment:
    anchors = np.concatenate([level.boxes() for level in levels])
    level_of = np.repeat(np.arange(len(levels)), [level.count for level in levels])
    owned, top = np.zeros((len(truth), len(levels)), dtype=np.int64), np.zeros(len(truth), dtype=np.float32)
    counts = {name: np.zeros(len(levels), dtype=np.int64) for name in ("positives", "ignored", "negatives")}
    for image in range(truth.images):
        own = np.flatnonzero(truth.image == image)
        matches, top[own] = match_boxes(anchors, truth.boxes[own], rule)
        positive = matches >= 0
        np.add.at(owned, (own[matches[positive]], level_of[positive]), 1)
        for name, chosen in (("positives", positive), ("ignored", matches == IGNORED), ("negatives", matches == NEGATIVE)):
            counts[name] += np.bincount(level_of[chosen], minlength=len(levels))
    return Assignment(owned=owned, reached=top > 0, best_iou=top, **counts)


def _match_sparse(levels: Sequence[Level], bases: Sequence[_Base], truth: Truth, near: np.ndarray, rule: Rule) -> Assignment:
    best, top = _best_rows(bases, truth, near)
    forced = _first_of_each(levels, bases, best, len(truth)) if rule.keeps_best else None
    owned = np.zeros((len(truth), len(levels)), dtype=np.int64)
    positives, ignored = np.zeros(len(levels), dtype=np.int64), np.zeros(len(levels), dtype=np.int64)
    for number, base in enumerate(bases):
        keys, high, owner = _by_anchor(base, _over(base, truth, rule.low), truth)
        if forced is None:
            keys, high, owner, certain = _with_best(base, keys, high, owner, best[number], truth)
        else:
            keys, high, owner, certain = _with_forced(base, keys, high, owner, forced[number], truth)
        positive = certain | (high >= np.float32(rule.high))
        owned[:, base.level] += np.bincount(owner[positive], minlength=len(truth))
        positives[base.level] += int(positive.sum())
        ignored[base.level] += int((~positive).sum())
    total = truth.images * np.array([level.count for level in levels], dtype=np.int64)
    return Assignment(owned, top > 0, top, positives, ignored, total - positives - ignored)


def _merged(parts: Sequence[tuple[np.ndarray, Assignment]], count: int, levels: int) -> Assignment:
    owned, reached, top = np.zeros((count, levels), dtype=np.int64), np.zeros(count, dtype=bool), np.zeros(count, dtype=np.float32)
    for where, part in parts:
        owned[where], reached[where], top[where] = part.owned, part.reached, part.best_iou
    sums = [sum(getattr(part, name) for _, part in parts) for name in ("positives", "ignored", "negatives")]
    return Assignment(owned, reached, top, *sums)


def _bases(levels: Sequence[Level]) -> list[_Base]:
    return [
        _Base(number, place, level.per_place, level.x1[place], level.x2[place], level.y1[place], level.y2[place])
        for number, level in enumerate(levels)
        for place in range(level.per_place)
    ]


def _overlap(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return IoU of boxes given as (x1, y1, x2, y2), in the order of operations of torchvision.ops.box_iou."""
    width = np.maximum(np.minimum(first[2], second[2]) - np.maximum(first[0], second[0]), np.float32(0))
    height = np.maximum(np.minimum(first[3], second[3]) - np.maximum(first[1], second[1]), np.float32(0))
    inside = width * height
    areas = [(sides[2] - sides[0]) * (sides[3] - sides[1]) for sides in (first, second)]
    with np.errstate(invalid="ignore"):  # two boxes without extent
        return inside / (areas[0] + areas[1] - inside)


def _sides(truth: Truth, index: np.ndarray | slice) -> tuple[np.ndarray, ...]:
    return tuple(truth.boxes[index, side] for side in range(4))


def _nearest(bases: Sequence[_Base], truth: Truth) -> np.ndarray:
    """Return each object's overlap with the nearest anchor of each base, which is the best of it, float32 [n, bases]."""
    found = np.zeros((len(truth), len(bases)), dtype=np.float32)
    for number, base in enumerate(bases):
        column = _nearest_cell(truth.boxes[:, 0::2], base.x1, base.x2)
        row = _nearest_cell(truth.boxes[:, 1::2], base.y1, base.y2)
        found[:, number] = _overlap(_sides(truth, slice(None)), (base.x1[column], base.y1[row], base.x2[column], base.y2[row]))
    return np.nan_to_num(found)


def _line(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Return the middle of the first cell along one side of a grid, and the distance to the next."""
    first = (float(low[0]) + float(high[0])) / 2
    last = (float(low[-1]) + float(high[-1])) / 2
    return first, (last - first) / (len(low) - 1) if len(low) > 1 else 1.0


def _nearest_cell(spans: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    first, step = _line(low, high)
    middle = spans.astype(np.float64).mean(axis=1)
    return np.clip(np.rint((middle - first) / step), 0, len(low) - 1).astype(np.int64)


def _windows(spans: np.ndarray, reach: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first cell and number of cells whose middle is at most `reach` from the middle of each span [n, 2]."""
    first, step = _line(low, high)
    middle = spans.astype(np.float64).mean(axis=1) - first
    begin = np.maximum(np.ceil((middle - reach - _SLACK) / step), 0).astype(np.int64)
    end = np.minimum(np.floor((middle + reach + _SLACK) / step), len(low) - 1).astype(np.int64)
    return begin, np.maximum(end - begin + 1, 0)


def _cells(base: _Base, truth: Truth, chosen: np.ndarray, reach_x: np.ndarray, reach_y: np.ndarray) -> Iterator[_Rows]:
    """Yield the cells within reach of each chosen object with their overlap, some objects at a time."""
    column, columns = _windows(truth.boxes[chosen, 0::2], reach_x, base.x1, base.x2)
    row, rows = _windows(truth.boxes[chosen, 1::2], reach_y, base.y1, base.y2)
    for begin, end in _portions(columns * rows):
        part = slice(begin, end)
        pair, place = _ranges(np.zeros(end - begin, dtype=np.int64), (columns * rows)[part])
        down, across = np.divmod(place, columns[part][pair])
        index, at = chosen[part][pair], (column[part][pair] + across, row[part][pair] + down)
        yield _Rows(index, *at, _overlap_of(base, truth, _Rows(index, *at, np.zeros(0, dtype=np.float32))))


def _overlap_of(base: _Base, truth: Truth, rows: _Rows) -> np.ndarray:
    cells = (base.x1[rows.column], base.y1[rows.row], base.x2[rows.column], base.y2[rows.row])
    return np.nan_to_num(_overlap(_sides(truth, rows.truth), cells))


def _joined(parts: list[_Rows]) -> _Rows:
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return _Rows(empty, empty, empty, np.zeros(0, dtype=np.float32))
    names = ("truth", "column", "row", "iou")
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _over(base: _Base, truth: Truth, least: float) -> _Rows:
    """Return the pairs whose overlap is at least `least`."""
    chosen, reach = _within(base, truth, least)
    parts = [rows.only(rows.iou >= np.float32(least)) for rows in _cells(base, truth, chosen, reach[:, 0], reach[:, 1])]
    return _joined(parts)


def _within(base: _Base, truth: Truth, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects that can overlap a base by `least`, and how far apart their middles may be then, [m, 2]."""
    spans, own = (truth.boxes[:, 2:] - truth.boxes[:, :2]).astype(np.float64), np.array([base.width, base.height])
    shared = np.minimum(spans, own)
    needed = least / (1 + least) * (own.prod() + spans.prod(axis=1))  # the area that two boxes of these sizes must share
    chosen = np.flatnonzero(shared.prod(axis=1) >= needed * (1 - 1e-5))
    return chosen, (spans[chosen] + own) / 2 - needed[chosen, None] / shared[chosen, ::-1]


def _best_rows(bases: Sequence[_Base], truth: Truth, near: np.ndarray) -> tuple[list[_Rows], np.ndarray]:
    """Return, by base, the anchors with which each object has its highest overlap, and that overlap, float32 [n]."""
    top = near.max(axis=1, initial=0.0)
    close = _close(near)
    found: list[_Rows] = []
    for number, base in enumerate(bases):
        chosen = np.flatnonzero(close[:, number])
        reach = _free(base, truth, chosen)
        kept = []
        for rows in _cells(base, truth, chosen, reach[:, 0], reach[:, 1]):
            np.maximum.at(top, rows.truth, rows.iou)
            kept.append(rows.only(rows.iou >= top[rows.truth] * np.float32(1 - 1e-4)))
        found.append(_joined(kept))
    return [rows.only(rows.iou == top[rows.truth]) for rows in found], top


def _close(near: np.ndarray) -> np.ndarray:
    """Say which bases hold an object's best anchor, or one that overlaps as much but for rounding."""
    return near >= near.max(axis=1, initial=0.0, keepdims=True) * np.float32(1 - 1e-4)


def _free(base: _Base, truth: Truth, chosen: np.ndarray) -> np.ndarray:
    """Return how far from an object a cell may be and overlap it as much as the nearest: an anchor inside it can be moved, or the
    other way round; [m, 2]."""
    boxes = truth.boxes[chosen]
    inside = np.abs((boxes[:, 2:] - boxes[:, :2]).astype(np.float64) - (base.width, base.height)) / 2
    nearest = (_distance(boxes[:, 0::2], base.x1, base.x2), _distance(boxes[:, 1::2], base.y1, base.y2))
    return np.maximum(inside, np.stack(nearest, axis=1))


def _distance(spans: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    first, step = _line(low, high)
    return np.abs(spans.astype(np.float64).mean(axis=1) - first - step * _nearest_cell(spans, low, high))


def _keys(base: _Base, rows: _Rows, truth: Truth) -> np.ndarray:
    """Number the anchors of one base over all images."""
    return (truth.image[rows.truth] * len(base.y1) + rows.row) * len(base.x1) + rows.column


def _by_anchor(base: _Base, rows: _Rows, truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each anchor that occurs in `rows` its key, its highest overlap and the first object that has it."""
    keys = _keys(base, rows, truth)
    order = np.argsort(keys, kind="stable")  # objects stay in their order
    keys, owner, iou = keys[order], rows.truth[order], rows.iou[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    if len(starts) == 0:
        return keys, iou, owner
    high = np.maximum.reduceat(iou, starts)
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
    winning = np.flatnonzero(iou == high[group])
    first = winning[np.flatnonzero(np.diff(group[winning], prepend=-1))]
    return keys[starts], high, owner[first]


def _with_best(
    base: _Base, keys: np.ndarray, high: np.ndarray, owner: np.ndarray, best: _Rows, truth: Truth
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Add the best anchors of each object to the groups; the last array says which anchors these are."""
    known, places = _found(_keys(base, best, truth), keys)
    certain = np.zeros(len(keys), dtype=bool)
    certain[places[known]] = True
    fresh = best.only(~known)
    if len(fresh.truth) == 0:
        return keys, high, owner, certain
    more = _by_anchor(base, _joined(list(_rivals(base, fresh, truth))), truth)
    keys, high, owner = (np.concatenate(pair) for pair in zip((keys, high, owner), more, strict=True))
    return keys, high, owner, np.concatenate([certain, np.ones(len(more[0]), dtype=bool)])


def _found(keys: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which keys stand in `among`, which is ascending, and where."""
    places = np.minimum(np.searchsorted(among, keys), max(0, len(among) - 1))
    return (among[places] == keys if len(among) else np.zeros(len(keys), dtype=bool)), places


def _rivals(base: _Base, rows: _Rows, truth: Truth) -> Iterator[_Rows]:
    """Yield the overlap of the anchors in `rows` with the objects of their image that they may touch, the anchor's own among them."""
    rows = rows.only(np.unique(_keys(base, rows, truth), return_index=True)[1])
    rows = rows.only(np.argsort(rows.truth, kind="stable"))
    begins = np.flatnonzero(np.diff(rows.truth, prepend=-1))
    known = rows.truth[begins]
    # The box around all anchors of an object, and every object of its image: those that it does not touch are no rivals.
    corners = (base.x1[rows.column], base.y1[rows.row], base.x2[rows.column], base.y2[rows.row])
    around = [(np.minimum if side < 2 else np.maximum).reduceat(corner, begins) for side, corner in enumerate(corners)]
    starts = np.searchsorted(truth.image, np.arange(truth.images + 1))
    image = truth.image[known]
    one, other = _ranges(starts[image], starts[image + 1] - starts[image])
    box = truth.boxes[other].T
    touching = (box[0] < around[2][one]) & (box[2] > around[0][one]) & (box[1] < around[3][one]) & (box[3] > around[1][one])
    one, other = one[touching], other[touching]
    first = np.searchsorted(one, np.arange(len(known) + 1))
    group = np.repeat(np.arange(len(known)), np.diff(begins, append=len(rows.truth)))
    for begin, end in _portions((first[1:] - first[:-1])[group]):
        own = group[begin:end]
        pair, place = _ranges(first[own], first[own + 1] - first[own])
        found = _Rows(other[place], rows.column[begin:end][pair], rows.row[begin:end][pair], np.zeros(0, dtype=np.float32))
        yield _Rows(found.truth, found.column, found.row, _overlap_of(base, truth, found))


def _ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for `counts[i]` numbers from `starts[i]` on, all one after another, i and the number."""
    index = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - before[index] + starts[index]


def _portions(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield begin and end of consecutive items that count at most CHUNK together, at least one item at a time."""
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        yield begin, end
        begin = end


def _first_of_each(levels: Sequence[Level], bases: Sequence[_Base], best: Sequence[_Rows], count: int) -> list[_Rows]:
    """Keep of each object's best anchors the first in the order of the network."""
    before = np.concatenate([[0], np.cumsum([level.count for level in levels])])
    places = [
        before[base.level] + (rows.row * len(base.x1) + rows.column) * base.per_place + base.place
        for base, rows in zip(bases, best, strict=True)
    ]
    first = np.full(count, before[-1], dtype=np.int64)
    for place, rows in zip(places, best, strict=True):
        np.minimum.at(first, rows.truth, place)
    return [rows.only(place == first[rows.truth]) for place, rows in zip(places, best, strict=True)]


def _with_forced(
    base: _Base, keys: np.ndarray, high: np.ndarray, owner: np.ndarray, forced: _Rows, truth: Truth
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give each object its first best anchor; of several with the same one the last keeps it."""
    order = np.argsort(forced.truth, kind="stable")
    forced = forced.only(order)
    forced_keys = _keys(base, forced, truth)
    last = {key: place for place, key in enumerate(forced_keys.tolist())}
    forced = forced.only(np.fromiter(last.values(), dtype=np.int64, count=len(last)))
    forced_keys = _keys(base, forced, truth)
    known, places = _found(forced_keys, keys)
    others = np.ones(len(keys), dtype=bool)
    others[places[known]] = False
    certain = np.concatenate([np.zeros(int(others.sum()), dtype=bool), np.ones(len(forced_keys), dtype=bool)])
    return (
        np.concatenate([keys[others], forced_keys]),
        np.concatenate([high[others], forced.iou]),
        np.concatenate([owner[others], forced.truth]),
        certain,
    )
