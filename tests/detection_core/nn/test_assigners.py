"""Assigners on cases that can be followed by hand, and against torchvision's matcher."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou

from detection_core.nn.assigners import (
    BACKGROUND,
    IGNORED,
    Grid,
    atss,
    centre_inside,
    holding_cells,
    match_by_iou,
    match_by_shape,
    match_points,
    smallest_wins,
    task_aligned,
)


def squares(*corners, side=10.0):
    return torch.tensor([[x, y, x + side, y + side] for x, y in corners], dtype=torch.float32)


def grid(size, stride):
    ticks = (torch.arange(size) + 0.5) * stride
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def around(centres, side):
    return torch.cat([centres - side / 2, centres + side / 2], dim=1)


@pytest.mark.parametrize(("above", "below", "claim"), [(0.5, 0.4, "nearest"), (0.5, 0.5, None), (0.7, 0.3, "nearest"), (0.5, 0.5, "own")])
def test_matching_by_iou_is_torchvisions(above, below, claim):
    generator = torch.Generator().manual_seed(1)
    anchors, objects = around(grid(12, 8), 20.0), torch.rand(6, 4, generator=generator) * 40
    objects[:, 2:] += objects[:, :2] + 4
    matcher = SSDMatcher(above) if claim == "own" else Matcher(above, below, allow_low_quality_matches=claim == "nearest")
    assert torch.equal(match_by_iou(anchors, objects, above=above, below=below, claim=claim), matcher(box_iou(objects, anchors)))


def test_an_object_that_overlaps_no_anchor_enough_has_one_all_the_same():
    anchors, objects = squares((0, 0), (30, 30)), squares((8, 0))
    assert match_by_iou(anchors, objects, claim=None).tolist() == [BACKGROUND, BACKGROUND]
    assert match_by_iou(anchors, objects).tolist() == match_by_iou(anchors, objects, claim="own").tolist() == [0, BACKGROUND]


@pytest.mark.parametrize("claim", [None, "nearest", "own"])
def test_an_object_beside_every_anchor_takes_none(claim):
    assert match_by_iou(squares((0, 0)), squares((50, 50)), claim=claim).tolist() == [BACKGROUND]


def test_a_point_takes_the_smallest_object_of_its_levels_size_near_its_middle():
    points = torch.tensor([[20.0, 20.0], [20.0, 20.0], [38.0, 20.0], [90.0, 90.0]])
    strides, ranges = torch.tensor([8.0, 16.0, 16.0, 8.0]), torch.tensor([[0.0, 32], [32, 64], [0, 64], [0, 32]])
    objects = torch.tensor([[0.0, 0, 40, 40], [10, 10, 30, 30], [0, 0, 60, 60]])
    # The first point lies in all three and takes the smallest. The second one's level is for sides from 32 to 64: the third object's, 40.
    # The third point is 18 and 10 from the middles of the first and the third object, within 1.5 strides of 16, and takes the smaller.
    assert match_points(points, strides, ranges, objects).tolist() == [1, 2, 0, BACKGROUND]
    assert match_points(points, strides, ranges, objects, radius=1.0).tolist() == [1, 2, 2, BACKGROUND]
    assert match_points(points, strides, ranges, objects[:0]).tolist() == [BACKGROUND] * 4


def test_one_cell_holds_a_middle_the_next_one_on_a_border_and_the_last_at_the_end_of_the_image():
    grid = Grid(rows=2, columns=3, width=10.0, height=20.0)
    middles = torch.tensor([[0.0, 0], [9.9, 19.9], [10, 19], [19, 20], [30, 40], [29, 5]])
    assert holding_cells(torch.cat([middles - 3, middles + 3], dim=1), grid).tolist() == [0, 0, 1, 4, 5, 2]
    assert holding_cells(torch.zeros(0, 4), grid).tolist() == []


def test_a_place_that_several_want_goes_to_the_smallest_and_of_equals_to_the_last():
    objects = torch.tensor([[0.0, 0, 4, 4], [0, 0, 9, 9], [1, 1, 5, 5], [0, 0, 2, 2]])
    assert smallest_wins(torch.tensor([1, 1, 1, 3]), objects, 5).tolist() == [BACKGROUND, 2, BACKGROUND, 3, BACKGROUND]
    assert smallest_wins(torch.zeros(0, dtype=torch.int64), objects[:0], 2).tolist() == [BACKGROUND] * 2


def test_each_object_takes_the_likest_shape_of_its_cells_and_anchors_that_overlap_it_by_more_than_half_are_ignored():
    # A level of 4 cells of 10 px with a wide and a high anchor each, one of a single cell of 20 px with a square.
    fine, coarse = Grid(2, 2, 10.0, 10.0, per_cell=2), Grid(1, 1, 20.0, 20.0)
    wide, high = torch.tensor([16.0, 8]), torch.tensor([8.0, 16])
    cells = [torch.tensor([x, y]) for y in (5.0, 15.0) for x in (5.0, 15.0)]
    anchors = torch.stack([torch.cat([cell - shape / 2, cell + shape / 2]) for cell in cells for shape in (wide, high)])
    anchors = torch.cat([anchors, torch.tensor([[2.0, 2, 18, 18]])])
    # As wide as high and in the middle: the square's. High, in the upper right cell: its second anchor, number 3.
    objects = torch.tensor([[3.0, 3, 17, 17], [10, 0, 20, 12]])
    given = match_by_shape(anchors, objects, [fine, coarse])
    assert given.tolist() == [BACKGROUND] * 3 + [1] + [BACKGROUND] * 4 + [0]
    # The wide anchor of that cell overlaps the second object by 80 / 168.
    ignoring = match_by_shape(anchors, objects, [fine, coarse], ignored_above=0.47)
    assert ignoring.tolist() == [BACKGROUND, BACKGROUND, IGNORED, 1] + [BACKGROUND] * 4 + [0]
    assert set(match_by_shape(anchors, objects[:0], [fine, coarse]).tolist()) == {BACKGROUND}


def test_between_the_two_bounds_an_anchor_is_ignored():
    objects = squares((0, 0))
    anchors = torch.cat([squares((0, 0)), squares((4, 0)), squares((30, 30))])
    assert match_by_iou(anchors, objects, above=0.5, below=0.4).tolist() == [0, IGNORED, BACKGROUND]


def test_without_objects_all_is_background():
    anchors, nothing = around(grid(4, 8), 16.0), torch.zeros(0, 4)
    assert set(match_by_iou(anchors, nothing).tolist()) == {BACKGROUND}
    assert set(atss(anchors, nothing, [16]).tolist()) == {BACKGROUND}
    found = task_aligned(torch.rand(16, 3), anchors, grid(4, 8), nothing, torch.zeros(0, dtype=torch.int64))
    assert set(found.given.tolist()) == {BACKGROUND} and not found.quality.any()


def test_atss_takes_centres_inside_with_more_overlap_than_most_candidates():
    fine, coarse = around(grid(8, 8), 32.0), around(grid(4, 16), 64.0)
    anchors = torch.cat([fine, coarse])
    objects = torch.tensor([[12.0, 12, 44, 44]])  # as large as the fine anchors
    given = atss(anchors, objects, [64, 16])
    positive = torch.nonzero(given == 0).squeeze(1)
    assert len(positive) > 0 and bool((positive < 64).all()), "the level of the object's own size is found by itself"
    iou = box_iou(objects, anchors)[0]
    assert iou[positive].min() >= iou[given != 0].max() or bool(centre_inside(grid(8, 8)[positive], objects).all())


def test_with_atss_an_anchor_of_two_objects_takes_the_one_of_the_larger_overlap():
    anchors = around(grid(8, 8), 20.0)
    # The first object is the anchor at (20, 20); the second overlaps it by IoU 0.74, and its neighbour at (28, 20) by 0.6.
    objects = torch.tensor([[10.0, 10, 30, 30], [13, 10, 33, 30]])
    given = atss(anchors, objects, [64])
    assert torch.nonzero(given == 0).flatten().tolist() == [18] and torch.nonzero(given == 1).flatten().tolist() == [19]
    assert 18 in torch.nonzero(atss(anchors, objects[1:], [64]) == 0).flatten().tolist(), "alone it would have taken both"


def test_task_alignment_wants_a_good_score_and_a_good_box_together():
    centres = grid(4, 8)
    objects, labels = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([1])
    boxes, scores = objects.repeat(16, 1), torch.full((16, 2), 0.01)
    scores[0, 1] = 0.9  # right box, right class
    scores[1, 0] = 0.9  # right box, other class
    scores[4, 1] = 0.9
    boxes[4] = torch.tensor([0.0, 0, 8, 16])  # right class, half the box
    scores[15, 1] = 0.9  # right in both, but its centre lies elsewhere
    found = task_aligned(scores, boxes, centres, objects, labels, topk=1)
    assert torch.nonzero(found.given == 0).flatten().tolist() == [0]
    assert found.quality[0].item() == pytest.approx(1), "the best place is trained towards the object's largest IoU"
    assert found.quality[1:].abs().max() == 0


def test_one_to_one_is_the_best_of_one_to_many():
    generator = torch.Generator().manual_seed(2)
    centres = grid(8, 8)
    objects, labels = torch.tensor([[4.0, 4, 40, 36], [30, 20, 62, 60]]), torch.tensor([0, 2])
    boxes = around(centres, 30.0) + torch.randn(64, 4, generator=generator)
    scores = torch.rand(64, 3, generator=generator)
    many, one = (task_aligned(scores, boxes, centres, objects, labels, topk=topk) for topk in (10, 1))
    for place in range(len(objects)):
        chosen = torch.nonzero(one.given == place).flatten()
        assert len(chosen) == 1
        assert many.given[chosen].item() == place
        assert many.quality[chosen].item() == pytest.approx(many.quality[many.given == place].max().item())


def test_a_place_that_two_objects_want_goes_to_the_one_it_overlaps_most():
    centres = torch.tensor([[10.0, 10.0]])
    boxes = torch.tensor([[0.0, 0, 20, 20]])
    objects = torch.tensor([[0.0, 0, 40, 40], [0, 0, 22, 22]])
    found = task_aligned(torch.full((1, 1), 0.5), boxes, centres, objects, torch.tensor([0, 0]))
    assert found.given.tolist() == [1]


def test_a_place_on_the_border_of_an_object_is_not_inside():
    assert centre_inside(torch.tensor([[0.0, 5.0], [5.0, 5.0]]), squares((0, 0))).tolist() == [[False, True]]
