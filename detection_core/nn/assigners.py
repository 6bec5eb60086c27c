"""Which place of a dense detector is trained on which object: by IoU, by statistics (ATSS), by what the network itself is good at.

Every assigner answers alike for one image: int64 [places], the index of the object that a place is trained on, BACKGROUND or IGNORED. Boxes
are xyxy in pixels of the network's input; an image without objects is all background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND, IGNORED = -1, -2
Claim = Literal["nearest", "own"]


@dataclass(frozen=True)
class Grid:
    """One level of cells; `width` and `height` are those of a cell in pixels, `per_cell` counts its places, which follow one another."""

    rows: int
    columns: int
    width: float
    height: float
    per_cell: int = 1

    @property
    def count(self) -> int:
        """Places of the level."""
        return self.rows * self.columns * self.per_cell


def match_by_iou(places: Tensor, objects: Tensor, *, above: float = 0.5, below: float = 0.4, claim: Claim | None = "nearest") -> Tensor:
    """Give each anchor the object that it overlaps most, where by `above` or more; under `below` it is background, between ignored.

    So that no object stays without an anchor, each claims those that overlap it most. With `nearest` such an anchor is trained on the
    object that *it* overlaps most (RetinaNet, Lin et al. 2017, section 4); with `own` the first of them is trained on the claiming object
    (SSD, Liu et al. 2016, section 2.2, where `above` and `below` are both 0.5).

    Args:
        places: anchors [p, 4].
        objects: [g, 4].
    """
    if not len(objects):
        return places.new_full((len(places),), BACKGROUND, dtype=torch.int64)
    iou = box_iou(objects, places)
    best, found = iou.max(dim=0)
    given = torch.where(best >= above, found, torch.where(best < below, BACKGROUND, IGNORED))
    most, first = iou.max(dim=1)
    there = most > 0  # an object beside every anchor claims none
    if claim == "nearest":
        given = torch.where(((iou == most[:, None]) & there[:, None]).any(dim=0), found, given)
    if claim == "own":
        given[first[there]] = torch.arange(len(objects), device=given.device)[there]
    return given


def match_points(points: Tensor, strides: Tensor, ranges: Tensor, objects: Tensor, *, radius: float = 1.5) -> Tensor:
    """Give each point the smallest object whose middle is near and whose size is its level's (FCOS, Tian et al. 2019, section 3.2).

    A point takes an object that it lies inside of, within `radius` strides of its middle in both directions (arXiv 2006.09214,
    section 3.2), and whose farthest side is as far as the level is there for.

    Args:
        points: [p, 2].
        strides: [p], of each point's level, in pixels.
        ranges: [p, 2], between which distances to the farthest side a point is trained; both ends are left out.
        objects: [g, 4].
    """
    if not len(objects):
        return points.new_full((len(points),), BACKGROUND, dtype=torch.int64)
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    near = (points[:, None] - middles[None]).abs().amax(dim=2) < radius * strides[:, None]
    sides = torch.cat([points[:, None] - objects[None, :, :2], objects[None, :, 2:] - points[:, None]], dim=2)
    farthest = sides.amax(dim=2)
    suited = near & (sides.amin(dim=2) > 0) & (farthest > ranges[:, :1]) & (farthest < ranges[:, 1:])
    areas = (objects[:, 2:] - objects[:, :2]).prod(dim=1)
    smallest, found = torch.where(suited, areas, float("inf")).min(dim=1)
    return torch.where(smallest < float("inf"), found, BACKGROUND)


def holding_cells(objects: Tensor, grid: Grid) -> Tensor:
    """Return the one cell that holds the middle of each object, int64 [g], numbered row by row (YOLO, Redmon et al. 2016, section 2).

    A middle on the border of two cells lies in the next one; on the right or lower border of the image in the last.
    """
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    column = (middles[:, 0] / grid.width).floor().clamp(0, grid.columns - 1).long()
    row = (middles[:, 1] / grid.height).floor().clamp(0, grid.rows - 1).long()
    return row * grid.columns + column


def smallest_wins(wanted: Tensor, objects: Tensor, places: int) -> Tensor:
    """Give each of `places` the object that wants it (`wanted` int64 [g]), of several the smallest, of equally small ones the last."""
    given = torch.full((places,), BACKGROUND, dtype=torch.int64, device=objects.device)
    if not len(objects):
        return given
    order = (objects[:, 2:] - objects[:, :2]).prod(dim=1).argsort(descending=True, stable=True)
    last = given.scatter_reduce(0, wanted[order], torch.arange(len(order), device=order.device), "amax")
    return torch.where(last >= 0, order[last], given)


def match_by_shape(anchors: Tensor, objects: Tensor, grids: Sequence[Grid], *, ignored_above: float = 0.5) -> Tensor:
    """Give each object one anchor: of those of the cells that hold its middle the one of its shape (YOLOv3, section 2.1).

    The likest shape is that of the largest IoU if both had one middle. Other anchors that overlap an object by more than `ignored_above`
    are ignored; all of that is the anchors' and nothing the network's, as the paper's text has it. An anchor that two objects want goes to
    the smaller one, which the paper leaves open.

    Args:
        anchors: [p, 4], level after level, cell by cell.
        objects: [g, 4].
        grids: the levels, whose counts sum to p.
    """
    background = torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
    if not len(objects):
        return background
    starts = torch.tensor([0, *(grid.count for grid in grids)]).cumsum(0).tolist()
    candidates = torch.cat(
        [
            start + holding_cells(objects, grid)[:, None] * grid.per_cell + torch.arange(grid.per_cell, device=anchors.device)
            for start, grid in zip(starts, grids, strict=False)
        ],
        dim=1,
    )  # [g, anchors of a cell of each level]
    shapes, spans = anchors[candidates, 2:] - anchors[candidates, :2], (objects[:, 2:] - objects[:, :2])[:, None]
    shared = torch.minimum(shapes, spans).prod(dim=2)
    likest = (shared / (shapes.prod(dim=2) + spans.prod(dim=2) - shared)).argmax(dim=1, keepdim=True)
    given = smallest_wins(candidates.gather(1, likest).squeeze(1), objects, len(anchors))
    near = box_iou(anchors, objects).amax(dim=1) > ignored_above
    return torch.where(given >= 0, given, torch.where(near, IGNORED, background))


def atss(anchors: Tensor, objects: Tensor, level_sizes: Sequence[int], *, topk: int = 9) -> Tensor:
    """Choose positives by the statistics of each object's own candidates (ATSS, Zhang et al. 2020, algorithm 1).

    Of each level the `topk` anchors whose centres are nearest are candidates. One is positive where its IoU is at least the mean plus
    the standard deviation of all candidates of the object and its centre lies inside; of several objects it takes that of the largest IoU.

    Args:
        anchors: [p, 4], level after level.
        objects: [g, 4].
        level_sizes: how many anchors each level has; their sum is p.
    """
    given = anchors.new_full((len(anchors),), BACKGROUND, dtype=torch.int64)
    if not len(objects):
        return given
    iou = box_iou(objects, anchors)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    distance = torch.cdist((objects[:, :2] + objects[:, 2:]) / 2, centres)
    starts = torch.tensor([0, *level_sizes]).cumsum(0).tolist()
    nearest = [
        start + distance[:, start : start + size].topk(min(topk, size), dim=1, largest=False).indices
        for start, size in zip(starts, level_sizes, strict=False)
    ]
    candidates = torch.cat(nearest, dim=1)
    of_candidates = iou.gather(1, candidates)
    threshold = of_candidates.mean(dim=1, keepdim=True) + of_candidates.std(dim=1, keepdim=True)
    positive = torch.zeros_like(iou, dtype=torch.bool).scatter(1, candidates, of_candidates >= threshold)
    positive &= centre_inside(centres, objects)
    best, found = torch.where(positive, iou, -1.0).max(dim=0)
    return torch.where(best >= 0, found, given)


@dataclass(frozen=True)
class Aligned:
    """What task alignment chose: `given` int64 [p]; `quality` float [p], 0..1, the score that each positive is trained towards."""

    given: Tensor
    quality: Tensor


def task_aligned(
    scores: Tensor,
    boxes: Tensor,
    centres: Tensor,
    objects: Tensor,
    labels: Tensor,
    *,
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> Aligned:
    """Choose the places where the network is best at both tasks: score^alpha times IoU^beta (TOOD, Feng et al. 2021, section 3.3).

    Each object takes the `topk` places inside it with the largest alignment; a place wanted by several takes the one it overlaps most.
    With topk 1 the assignment is one to one. Consistent dual assignment (YOLOv10, Wang et al. 2024, section 3.1) takes both with
    one alpha and beta, so that the place of the one is the best of the many.

    Args:
        scores: [p, classes], 0..1, without gradient.
        boxes: [p, 4], as predicted, without gradient.
        centres: [p, 2].
        objects: [g, 4].
        labels: int64 [g].

    Returns:
        `quality` is the alignment, scaled so that the best place of each object has the object's largest IoU (section 3.3).
    """
    given = boxes.new_full((len(boxes),), BACKGROUND, dtype=torch.int64)
    if not len(objects):
        return Aligned(given, boxes.new_zeros(len(boxes)))
    iou = box_iou(objects, boxes)
    alignment = scores[:, labels].T ** alpha * iou**beta
    alignment = torch.where(centre_inside(centres, objects), alignment, 0.0)
    wanted = torch.zeros_like(alignment, dtype=torch.bool)
    wanted.scatter_(1, alignment.topk(min(topk, len(boxes)), dim=1).indices, True)
    wanted &= alignment > 0
    best, found = torch.where(wanted, iou, -1.0).max(dim=0)
    given = torch.where(best >= 0, found, given)
    positive = given >= 0
    own = torch.zeros_like(alignment)
    own[given[positive], positive] = alignment[given[positive], positive]
    overlap = torch.where(own > 0, iou, 0.0)
    scaled = own / own.amax(dim=1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny) * overlap.amax(dim=1, keepdim=True)
    return Aligned(given, scaled.amax(dim=0))


def centre_inside(centres: Tensor, objects: Tensor) -> Tensor:
    """Say which centres [p, 2] lie inside which objects [g, 4], border not included; bool [g, p]."""
    sides = torch.cat([centres[None] - objects[:, None, :2], objects[:, None, 2:] - centres[None]], dim=2)
    return sides.amin(dim=2) > 0
