"""Assignment without anchors, small cases by hand. That FCOS's is the training's is tests/architecture's to show."""

from __future__ import annotations

import numpy as np

from detection_core.assignment.layouts import layout
from detection_core.assignment.points import match_holding, match_points, match_shapes, match_surrounding
from detection_core.catalogue.detectors import DETECTORS
from tests.detection_core.assignment.makers import truth_of

V1, V3 = (layout(DETECTORS[name], height=256, width=256) for name in ("yolov1_compact", "yolov3_compact"))
FCOS = layout(DETECTORS["fcos_resnet10_fpn"], height=256, width=256)


def test_an_object_is_learnt_by_the_central_points_inside_it_on_the_level_of_its_size():
    found = match_points(FCOS, truth_of([[60, 60, 100, 100], [0, 0, 250, 250]]))
    # Points of stride 8 less than 12 px from (80, 80) in both directions: 72, 80, 88.
    assert found.owned[0].tolist() == [9, 0, 0, 0]
    # The farthest side of the large one is over 64, 128 and at 128 px: the level of 32 px ends at 256.
    assert found.owned[1, :2].tolist() == [0, 0] and found.owned[1, 2:].sum() > 0
    assert found.reached.all() and found.best_iou is None


def test_of_two_objects_around_one_point_the_smaller_one_is_learnt_and_the_larger_is_lost_to_the_collision():
    truth = truth_of([[70, 70, 90, 90], [72, 72, 88, 88], [70, 70, 90, 90]], [0, 0, 1], 2)
    # Alone the large one has nine points; the small one has only the middle one strictly inside.
    assert match_points(FCOS, truth).owned.sum(axis=1).tolist() == [8, 1, 9]
    assert match_points(FCOS, truth_of([[76, 76, 84, 84]])).owned.sum() == 1
    collided = match_points(FCOS, truth_of([[77, 77, 83, 83], [76, 76, 84, 84]]))
    assert collided.owned.sum(axis=1).tolist() == [1, 0] and collided.reached.tolist() == [True, True]


def test_an_object_between_the_points_is_not_reached():
    found = match_points(FCOS, truth_of([[81, 81, 87, 87]]))
    assert found.reached.tolist() == [False] and found.owned.sum() == 0
    assert found.negatives.sum() == sum(level.count for level in FCOS)


def test_four_points_surround_a_middle_and_those_outside_the_grid_do_not_count():
    level = layout(DETECTORS["fastestdet"], height=352, width=352)[0]
    found = match_surrounding(level, truth_of([[40, 40, 60, 60], [340, 340, 352, 352]]))
    assert found.owned[:, 0].tolist() == [4, 1]
    same = match_surrounding(level, truth_of([[40, 40, 60, 60], [41, 41, 59, 59], [41, 41, 59, 59]]))
    assert same.owned[:, 0].tolist() == [0, 0, 4]


def test_one_cell_holds_a_middle_and_learns_one_object_by_one_of_its_two_boxes():
    level = V1[0]
    assert (level.rows, level.columns, level.per_place, level.cell_width) == (8, 8, 2, 32.0)
    # Two middles in the cell of columns 32 to 64, and one at the end of the image.
    found = match_holding(level, truth_of([[30, 30, 70, 70], [40, 40, 60, 60], [256, 256, 256, 256]]))
    assert found.owned[:, 0].tolist() == [0, 1, 1] and found.reached.all()
    assert (found.positives.tolist(), found.negatives.tolist()) == ([2], [126])
    same = match_holding(level, truth_of([[40, 40, 60, 60], [40, 40, 60, 60], [40, 40, 60, 60]], [0, 0, 1], 2))
    assert same.owned[:, 0].tolist() == [0, 1, 1]


def test_the_likest_shape_of_three_scales_learns_an_object_and_what_overlaps_by_half_is_ignored():
    # At 256 px the coarsest anchors are 71 x 55, 96 x 122 and 230 x 201; the second one's own cell has the middle (112, 112).
    found = match_shapes(V3, truth_of([[64, 51, 160, 173], [70, 56, 156, 168], [8, 8, 14, 16]]))
    # The first two want the same anchor, and the smaller one has it.
    assert found.owned.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert found.positives.tolist() == [1, 0, 1] and found.ignored.sum() > 0
    total = [level.count for level in V3]
    assert (found.positives + found.ignored + found.negatives).tolist() == total


def test_nothing_to_assign_is_no_error():
    empty = truth_of(np.zeros((0, 4)), images=2)
    level = layout(DETECTORS["fastestdet"], height=352, width=352)[0]
    for found in (match_points(FCOS, empty), match_surrounding(level, empty), match_holding(V1[0], empty), match_shapes(V3, empty)):
        assert found.positives.sum() == 0 and found.negatives.sum() > 0
