"""The quick matching against one that compares every anchor with every object, and small cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_core.assignment import matching
from detection_core.assignment.layouts import AnchorOptions, Level, layout
from detection_core.assignment.matching import Rule, best_iou, match, match_boxes
from detection_core.assignment.report import MATCHING
from detection_core.catalogue.detectors import DETECTORS
from tests.detection_core.assignment.makers import drawn_truth, truth_of

NAMES = ("fasterrcnn_resnet10_fpn", "retinanet_resnet10_fpn", "ssd_resnet10", "ssdlite320_mobilenet_v3_large")


def whole(levels, truth, rule):
    """Positives and left-out anchors by level, and the positives of each object, without any shortcut."""
    anchors = np.concatenate([level.boxes() for level in levels])
    level_of = np.repeat(np.arange(len(levels)), [level.count for level in levels])
    positives, ignored = np.zeros(len(levels), dtype=int), np.zeros(len(levels), dtype=int)
    owned = np.zeros((len(truth), len(levels)), dtype=int)
    for image in range(truth.images):
        own = np.flatnonzero(truth.image == image)
        if len(own) == 0:
            continue
        matches, _ = match_boxes(anchors, truth.boxes[own], rule)
        positives += np.bincount(level_of[matches >= 0], minlength=len(levels))
        ignored += np.bincount(level_of[matches == matching.IGNORED], minlength=len(levels))
        np.add.at(owned, (own[matches[matches >= 0]], level_of[matches >= 0]), 1)
    return positives.tolist(), ignored.tolist(), owned.tolist()


def assert_same(levels, truth, rule):
    found = match(levels, truth, rule)
    assert (found.positives.tolist(), found.ignored.tolist(), found.owned.tolist()) == whole(levels, truth, rule)
    assert (found.positives + found.ignored + found.negatives).tolist() == [truth.images * level.count for level in levels]
    assert found.owned.sum(axis=0).tolist() == found.positives.tolist()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**31),
    side=st.sampled_from((96, 160, 256)),
    least=st.sampled_from((0.5, 3.0, 20.0)),
    largest=st.sampled_from((6.0, 60.0, 255.0)),
)
def test_the_quick_matching_is_the_whole_matching(name, seed, side, least, largest):
    entry = DETECTORS[name]
    levels = layout(entry, height=side, width=side)
    truth = drawn_truth(seed=seed, side=side, least=min(least, largest), largest=min(largest, side - 1))
    assert_same(levels, truth, MATCHING[entry.family])


def test_it_is_also_where_little_is_held_in_memory_at_once(monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", 50)
    entry = DETECTORS["retinanet_resnet10_fpn"]
    assert_same(layout(entry, height=128, width=128), drawn_truth(seed=5, side=128, largest=120), MATCHING["retinanet"])


def test_an_object_that_no_anchor_touches_is_treated_as_the_training_treats_it():
    entry = DETECTORS["retinanet_resnet10_fpn"]
    options = AnchorOptions(anchor_sizes=((2,),) * 4, aspect_ratios=((1,),) * 4)
    levels = layout(entry, height=128, width=128, options=options)
    truth = truth_of([[3, 3, 5, 5], [40, 40, 80, 80], [30, 30, 70, 70]], [0, 0, 2], 3)
    assert best_iou(levels, truth)[0] == 0
    assert_same(levels, truth, MATCHING["retinanet"])
    found = match(levels, truth, MATCHING["retinanet"])
    assert found.reached.tolist() == [False, True, True]
    assert found.positives.sum() > 256  # all anchors of that image


def test_no_object_at_all_leaves_only_negatives():
    levels = layout(DETECTORS["ssd_resnet10"], height=128, width=128)
    found = match(levels, truth_of(np.zeros((0, 4)), images=3), MATCHING["ssd"])
    assert found.positives.sum() == found.ignored.sum() == 0
    assert found.negatives.tolist() == [3 * level.count for level in levels]


def one_level(*boxes):
    """A level whose grid is one cell with these boxes."""
    sides = np.array(boxes, dtype=np.float32)
    return (Level(sides[:, [0]], sides[:, [2]], sides[:, [1]], sides[:, [3]], 128, 128),)


def test_overlaps_between_the_thresholds_are_left_out_and_the_best_anchor_is_positive_however_low():
    levels = one_level((0, 0, 10, 10), (0, 0, 10, 20), (100, 100, 110, 110))
    # IoU with the anchors: 0.45, 0.225, 0 of the first object; the second one only touches the last anchor.
    truth = truth_of([[0, 0, 10, 4.5], [108, 108, 120, 120]])
    found = match(levels, truth, Rule(high=0.7, low=0.3))
    assert found.positives.tolist() == [2] and found.ignored.tolist() == [0] and found.negatives.tolist() == [1]
    assert found.owned.tolist() == [[1], [1]]
    truth = truth_of([[0, 0, 10, 9], [0, 0, 10, 10]])
    found = match(levels, truth, Rule(high=0.95, low=0.3))
    assert found.ignored.tolist() == [1]  # the tall anchor, at 0.5
    assert found.owned.tolist() == [[0], [1]]  # the first object's best anchor is taken by the second: lost to a collision
    assert found.reached.all()


def test_ssd_gives_an_anchor_that_two_objects_like_best_to_the_later_one():
    levels = one_level((0, 0, 10, 10), (50, 50, 60, 60))
    truth = truth_of([[0, 0, 10, 10], [0, 0, 10, 9]])
    assert match(levels, truth, MATCHING["ssd"]).owned.tolist() == [[0], [1]]
    assert match(levels, truth, MATCHING["retinanet"]).owned.tolist() == [[1], [0]]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_best_overlap_is_that_of_all_anchors(seed):
    levels = layout(DETECTORS["retinanet_resnet10_fpn"], height=160, width=160)
    truth = drawn_truth(seed=seed, side=160, largest=150)
    anchors = np.concatenate([level.boxes() for level in levels])
    _, expected = match_boxes(anchors, truth.boxes, MATCHING["retinanet"])
    assert np.abs(best_iou(levels, truth) - expected).max() < 1e-6
