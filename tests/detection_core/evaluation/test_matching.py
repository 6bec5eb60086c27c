"""Matches made once: averaged with every weight 1 they are COCO's numbers, on crowds, ties, empty images and over 100 detections."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.evaluation import matching as module
from detection_core.evaluation.bootstrap import NUMBERS, weighted_numbers
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.evaluation.matching import match
from tests.detection_core.evaluation.cases import found, generated, truth

BOX, FAR = (100.0, 100.0, 50.0, 50.0), (400.0, 300.0, 50.0, 50.0)


def numbers(ground_truth, detections):
    """The averages with every weight 1."""
    matches = match(ground_truth, detections)
    drawn = weighted_numbers(matches, np.ones((len(matches.image_ids), 1), np.int32))
    return {name: None if np.isnan(values[0]) else float(values[0]) for name, values in drawn.items()}


def expected(ground_truth, detections, engine="hotcoco"):
    metrics = coco_metrics(ground_truth, detections, engine=engine)[0].to_dict()
    return {name: metrics[name] for name in NUMBERS}


@pytest.mark.parametrize("seed", range(60))
def test_with_every_weight_one_the_averages_are_cocos_numbers(seed):
    case = generated(seed)
    assert numbers(*case) == pytest.approx(expected(*case), abs=1e-12)
    if seed % 6 == 0:
        assert numbers(*case) == pytest.approx(expected(*case, engine="pycocotools"), abs=1e-12)


def test_overlaps_cut_into_parts_give_the_same_matches(monkeypatch):
    case = generated(7)
    whole = numbers(*case)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 5)
    assert numbers(*case) == whole


def test_the_order_of_images_and_classes_in_the_file_does_not_matter():
    ground_truth, detections = generated(11)
    turned = {**ground_truth, "images": ground_truth["images"][::-1], "categories": ground_truth["categories"][::-1]}
    assert numbers(turned, detections) == numbers(ground_truth, detections)


def test_detections_of_unknown_images_and_classes_do_not_count():
    ground_truth = truth([(1, 1, BOX, 0)])
    rows = found((1, 1, BOX, 0.5), (9, 1, BOX, 0.9), (1, 7, BOX, 0.9))
    assert numbers(ground_truth, rows)["ap"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("ground_truth", "rows"),
    [
        (truth([]), found((1, 1, BOX, 0.9))),
        (truth([(1, 1, BOX, 0)]), found()),
        (truth([], images=0), found()),
        (truth([], classes=0), found()),
        (truth([(1, 1, BOX, 1)]), found((1, 1, BOX, 0.9))),
    ],
    ids=["no ground truth", "no detections", "no images", "no classes", "only a crowd"],
)
def test_where_there_is_nothing_the_numbers_are_cocos(ground_truth, rows):
    assert numbers(ground_truth, rows) == expected(ground_truth, rows)


def test_of_two_equal_overlaps_the_later_object_is_taken_as_coco_does():
    # The first detection overlaps both by 0.6; the second only the later one, which is then taken already.
    ground_truth = truth([(1, 1, (90, 100, 40, 40), 0), (1, 1, (110, 100, 40, 40), 0)])
    rows = found((1, 1, (100, 100, 40, 40), 0.9), (1, 1, (110, 100, 40, 40), 0.8))
    assert numbers(ground_truth, rows) == pytest.approx(expected(ground_truth, rows, engine="pycocotools"), abs=1e-12)
    assert numbers(ground_truth, rows)["ap50"] == pytest.approx(51 / 101)


def test_a_detection_on_the_border_of_a_threshold_is_counted_as_pycocotools_counts_it():
    # IoU exactly 0.5, 0.6 and 0.75 in exact arithmetic.
    shapes = [(100, 100, 100, 50), (100, 100, 100, 60), (100, 100, 100, 75)]
    ground_truth = truth([(image, 1, (100, 100, 100, 100), 0) for image in (1, 2, 3)], images=3)
    rows = found(*[(image, 1, box, 0.9) for image, box in enumerate(shapes, start=1)])
    assert numbers(ground_truth, rows) == pytest.approx(expected(ground_truth, rows, engine="pycocotools"), abs=1e-12)
