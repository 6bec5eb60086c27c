"""Choosing detections: small cases by hand. The families' whole decode is held against torchvision's own in models/test_reference.py."""

from __future__ import annotations

import pytest
import torch

from detection_core.nn.postprocess import clip, select_detections, take_detections

BOXES = torch.tensor([[10.0, 10, 50, 50], [12, 12, 52, 52], [60, 60, 90, 90], [-20, -5, 30, 130]])


def select(scores, boxes=BOXES, **changes):
    rules = {"score_thresh": 0.05, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 100} | changes
    return select_detections(torch.tensor(scores), lambda places: boxes[places], height=100, width=100, **rules)


def test_of_two_overlapping_boxes_of_one_class_the_better_stays():
    found = select([[0.6], [0.9], [0.5], [0.0]])
    assert found.boxes.tolist() == [[12, 12, 52, 52], [60, 60, 90, 90]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.labels.tolist() == [0, 0]


def test_without_nms_overlapping_boxes_of_one_class_all_stay_the_best_first():
    found = select([[0.6], [0.9], [0.5], [0.0]], nms=False, max_det=2)
    assert found.boxes.tolist() == [[12, 12, 52, 52], [10, 10, 50, 50]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])


def test_overlapping_boxes_of_two_classes_both_stay():
    found = select([[0.6, 0.0], [0.0, 0.9], [0.0, 0.0], [0.0, 0.0]])
    assert found.labels.tolist() == [1, 0]


def test_one_place_can_give_two_classes():
    found = select([[0.6, 0.7], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert found.labels.tolist() == [1, 0]
    assert torch.equal(found.boxes[0], found.boxes[1])


def test_a_score_at_the_threshold_is_dropped():
    assert len(select([[0.5], [0.0], [0.25], [0.0]], score_thresh=0.25).scores) == 1


def test_no_more_than_max_det_stay_and_they_are_the_best():
    found = select([[0.6], [0.1], [0.8], [0.3]], max_det=2)
    assert found.scores.tolist() == pytest.approx([0.8, 0.6])


def test_only_the_best_candidates_reach_nms():
    # The best two hide each other, so only one of them is left although a third would stand alone.
    assert len(select([[0.8], [0.9], [0.5], [0.0]], pre_nms_topk=2).scores) == 1


def test_boxes_are_clipped_to_the_input_and_empty_ones_dropped():
    outside = torch.tensor([[-20.0, -5, 30, 130], [110, 10, 150, 50], [40, 40, 40, 60], [1, 1, 2, 2]])
    found = select([[0.9], [0.8], [0.7], [0.6]], boxes=outside)
    assert found.boxes.tolist() == [[0, 0, 30, 100], [1, 1, 2, 2]]


def test_nothing_above_the_threshold_gives_empty_detections_of_the_right_shape():
    found = select([[0.0], [0.01], [0.0], [0.0]])
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.dtype == torch.int64


def test_what_a_graph_found_is_thresholded_ranked_and_cut():
    found = take_detections(BOXES, torch.tensor([0.2, 0.9, -1.0, 0.5]), torch.tensor([0.0, 1, 2, 3]), score_thresh=0.3, max_det=1)
    assert found.boxes.tolist() == [[12, 12, 52, 52]] and found.labels.tolist() == [1] and found.labels.dtype == torch.int64


def test_clip_uses_width_for_x_and_height_for_y():
    assert clip(torch.tensor([[-1.0, -1, 500, 500]]), height=20, width=30).tolist() == [[0, 0, 30, 20]]
