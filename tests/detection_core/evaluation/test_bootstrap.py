"""The bootstrap: what a draw is, on what it depends, and that weighting is the same as holding images many times."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.evaluation import bootstrap as module
from detection_core.evaluation.bootstrap import NUMBERS, bootstrap, draw_weights, draws_key, interval, weighted_numbers
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.evaluation.matching import match
from detection_core.schemas.accuracy import Bootstrap, Interval
from tests.detection_core.evaluation.cases import found, generated, truth

BOX, FAR = (100.0, 100.0, 50.0, 50.0), (400.0, 300.0, 50.0, 50.0)


def held_many_times(ground_truth, detections, weights):
    """The data set with image n held weights[n] times, its copies one after another."""
    copies = {
        image["id"]: [image["id"] * 1000 + copy for copy in range(weight)]
        for image, weight in zip(ground_truth["images"], weights, strict=True)
    }
    annotations = [{**entry, "image_id": copy} for entry in ground_truth["annotations"] for copy in copies[entry["image_id"]]]
    rows = [[copy, *row[1:]] for row in detections.tolist() for copy in copies[int(row[0])]]
    images = [{"id": copy} for image in ground_truth["images"] for copy in copies[image["id"]]]
    return {**ground_truth, "images": images, "annotations": annotations}, np.array(rows).reshape(-1, 7)


def with_distinct_scores(detections):
    """Of equal scores inside an image pycocotools would count all copies of the first before the second: no draw of images does that."""
    changed = detections.copy()
    changed[:, 5] += np.arange(len(changed)) * 1e-9
    return changed


@pytest.mark.parametrize("seed", range(25))
def test_a_weight_is_how_often_an_image_is_held(seed):
    ground_truth, detections = generated(seed)
    detections = with_distinct_scores(detections)
    weights = np.random.default_rng(seed).integers(0, 4, (len(ground_truth["images"]), 3))
    drawn = weighted_numbers(match(ground_truth, detections), weights)
    for draw in range(3):
        copied = held_many_times(ground_truth, detections, weights[:, draw].tolist())
        metrics = coco_metrics(*copied, engine="pycocotools")[0].to_dict()
        values = {name: None if np.isnan(drawn[name][draw]) else drawn[name][draw] for name in NUMBERS}
        assert values == pytest.approx({name: metrics[name] for name in NUMBERS}, abs=1e-12)


def test_a_class_that_a_draw_does_not_hold_is_left_out_of_its_mean():
    ground_truth = truth([(1, 1, BOX, 0), (2, 2, FAR, 0)], images=2, classes=2)
    matches = match(ground_truth, found((1, 1, BOX, 0.9)))
    drawn = weighted_numbers(matches, np.array([[1, 2, 0, 0], [1, 0, 1, 0]]))
    assert drawn["ap"][:3] == pytest.approx([0.5, 1, 0]) and np.isnan(drawn["ap"][3])


def test_the_draws_are_the_same_on_every_machine_and_in_every_version():
    # Draws of results that were computed years apart must pair. These are numpy's promise for RandomState(0).
    weights = np.concatenate(list(draw_weights(5, draws=2, seed=0, at_once=64)), axis=1)
    assert weights.T.tolist() == [[1, 0, 0, 3, 1], [1, 1, 1, 1, 1]]


def test_the_draws_do_not_depend_on_how_many_are_made_at_once():
    whole = np.concatenate(list(draw_weights(7, draws=130, seed=3, at_once=64)), axis=1)
    assert np.array_equal(np.concatenate(list(draw_weights(7, draws=130, seed=3, at_once=9)), axis=1), whole)
    assert whole.shape == (7, 130) and (whole.sum(axis=0) == 7).all()


def test_two_detectors_on_the_same_images_get_the_same_draws():
    ground_truth, detections = generated(4)
    one, values = bootstrap(match(ground_truth, detections), draws=50)
    again, same = bootstrap(match(ground_truth, detections), draws=50)
    other, _ = bootstrap(match(ground_truth, detections[::2]), draws=50)
    assert one == again and all(np.array_equal(values[name], same[name], equal_nan=True) for name in NUMBERS)
    assert other.key == one.key


def test_the_key_depends_on_the_units_in_order_their_number_and_the_seed():
    keys = [
        draws_key(["1", "2"], draws=10, seed=0),
        draws_key(["2", "1"], draws=10, seed=0),
        draws_key(["1"], draws=10, seed=0),
        draws_key(["1", "2"], draws=11, seed=0),
        draws_key(["1", "2"], draws=10, seed=1),
    ]
    assert len(set(keys)) == len(keys)


def grouped(images, groups):
    ground_truth = truth([(image, 1, BOX, 0) for image in range(1, images + 1)], images=images)
    matches = match(ground_truth, found(*[(image, 1, BOX if image % 3 else FAR, 0.9) for image in range(1, images + 1)]))
    return bootstrap(matches, groups=groups, draws=200)


def test_groups_are_drawn_whole_where_every_image_has_one():
    by_group, _ = grouped(40, {image: f"field {image % 20}" for image in range(1, 41)})
    by_image, _ = grouped(40, {})
    assert (by_group.unit, by_group.units) == ("group", 20) and (by_image.unit, by_image.units) == ("image", 40)
    assert "drawn" not in by_group.note + by_image.note and not by_group.groups_ignored and not by_image.groups_ignored
    assert by_group.key != by_image.key


def test_images_of_one_group_count_alike_in_every_draw(monkeypatch):
    seen = []
    original = module.weighted_numbers
    monkeypatch.setattr(module, "weighted_numbers", lambda matches, weights: seen.append(weights) or original(matches, weights))
    grouped(24, {image: f"flight {image % 12}" for image in range(1, 25)})
    weights = np.concatenate(seen, axis=1)
    assert all(np.array_equal(weights[image], weights[image + 12]) for image in range(12))
    assert not np.array_equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({image: f"place {image % 3}" for image in range(1, 41)}, "3 groups are fewer than 10"),
        ({image: f"place {image}" for image in range(1, 31)}, "10 of 40 have no group"),
        ({image: f"place {image}" if image > 5 else None for image in range(1, 41)}, "5 of 40 have no group"),
    ],
    ids=["too few", "some unknown", "some without"],
)
def test_where_groups_cannot_be_drawn_images_are_and_the_note_says_why(groups, words):
    drawn, _ = grouped(40, groups)
    assert drawn.unit == "image" and drawn.groups_ignored and words in drawn.note


def test_the_interval_holds_the_number_and_narrows_with_more_images():
    wide, _ = grouped(30, {})
    narrow, _ = grouped(480, {})
    first, second = wide.intervals["ar_100"], narrow.intervals["ar_100"]  # two thirds are found
    assert first.low < second.low < 2 / 3 < second.high < first.high
    assert Bootstrap.parse(wide.to_json()) == wide


def test_what_no_object_defines_has_no_interval():
    drawn, values = grouped(30, {})
    assert drawn.intervals["ap_small"] is None and np.isnan(values["ap_small"]).all()
    nothing, values = bootstrap(match(truth([], images=0), found()), draws=20)
    assert set(nothing.intervals.values()) == {None} and values["ap"].shape == (20,)
    assert interval(np.array([0.5, np.nan, np.nan]), 0.5) is None


def test_the_interval_is_moved_against_the_bias_and_stays_within_0_and_1():
    draws = np.linspace(0.4, 0.6, 1001)
    assert (interval(draws, 0.5).low, interval(draws, 0.5).high) == pytest.approx((0.405, 0.595))
    # The draws lie 0.02 above the number, so the number is taken to lie 0.02 above the truth: the middle comes to 0.46.
    assert (interval(draws, 0.48).low, interval(draws, 0.48).high) == pytest.approx((0.365, 0.555))
    assert interval(draws + 0.42, 0.94).high == 1 and interval(draws - 0.42, 0.06).low == 0
    assert interval(np.ones(10), 1.0).to_dict() == {"low": 1.0, "high": 1.0}


def test_a_number_outside_its_own_interval_is_explained(monkeypatch):
    monkeypatch.setattr(module, "interval", lambda draws, value: Interval(low=0.1, high=0.2))
    outside, _ = grouped(100, {})
    assert "AP lies outside its interval" in outside.note


def test_few_objects_are_said_aloud():
    few, _ = grouped(30, {})
    enough, _ = grouped(100, {})
    assert "half of the classes have fewer than 100 objects" in few.note and enough.note == ""
