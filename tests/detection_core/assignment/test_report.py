"""The report: its counts add up, boxes lie where preprocess puts the image, samples and advice are told."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.assignment.layouts import has_layout
from detection_core.assignment.report import AssignmentReport
from detection_core.assignment.truth import SIDES, SIZES, sample_images
from detection_core.catalogue.detectors import DETECTORS
from detection_core.data.dataset import ImageRecord
from detection_core.data.preprocess import preprocess
from detection_core.operations import assignment
from detection_core.operations.assignment import SplitBoxes, anchors_for, assignment_of, place, split_boxes
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy


def drawn_boxes(*, images=30, per=8, lo=4.0, hi=200.0, width=640, height=480, seed=0) -> SplitBoxes:
    rng = np.random.default_rng(seed)
    spans = np.exp(rng.uniform(np.log(lo), np.log(hi), (images * per, 2)))
    corner = rng.uniform(0, 1, spans.shape) * (np.array([width, height]) - spans)
    boxes = np.concatenate([corner, corner + spans], axis=1)
    return SplitBoxes("train", boxes, np.repeat(np.arange(images), per), spans.prod(axis=1), np.tile([width, height], (images, 1)))


def record(boxes, *, width=100, height=60, crowds=()):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    crowd = np.zeros(len(boxes), dtype=bool)
    crowd[list(crowds)] = True
    area = 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # a segment's, as COCO has it
    labels = np.zeros(len(boxes), dtype=np.int64)
    return ImageRecord(1, "images/a.png", width, height, "train", None, "0" * 64, boxes, labels, crowd, area)


@pytest.mark.parametrize("name", sorted(name for name, entry in DETECTORS.items() if has_layout(entry)))
def test_the_counts_of_every_catalogue_entry_add_up(name):
    boxes = drawn_boxes()
    report = assignment_of(name, boxes)
    parts = ("objects", "collided", "unreached", "positives")
    for groups, names in ((report.by_size, SIZES), (report.by_side, SIDES)):
        assert tuple(groups) == names
        for part in (*parts, *(["unmatched"] if report.kind == "anchors" else []), *(["unmatched_own"] if report.own_iou else [])):
            assert sum(getattr(found, part) for found in groups.values()) == getattr(report.total, part)
    assert report.total.objects == 240 and report.total.lost <= 240
    assert sum(level.positives for level in report.levels) == report.total.positives
    for level in report.levels:
        places = report.images * level.rows * level.columns * level.per_place
        assert level.positives + level.ignored + level.negatives == places
        assert sum(level.positives_by_size.values()) == level.positives
    assert (report.kind == "anchors") == (report.mean_best_iou is not None) == DETECTORS[name].anchors
    assert AssignmentReport.parse(report.to_json()) == report


def test_small_medium_and_large_are_by_the_area_in_the_original_and_sides_by_pixels_of_the_input():
    # 20, 40 and 98 px wide; the segment has half the area of the box, and the input half the width of the image.
    boxes = split_boxes([record([[0, 0, 20, 20], [0, 0, 40, 60], [0, 0, 98, 60]], width=100, height=60)], "train")
    report = assignment_of("fcos_resnet10_fpn", boxes, input_size=50)
    assert {name: found.objects for name, found in report.by_size.items()} == {"small": 1, "medium": 2, "large": 0}
    assert {name: found.objects for name, found in report.by_side.items() if found.objects} == {"8-16": 1, "16-32": 1, "32-96": 1}


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize(("width", "height"), [(100, 60), (33, 97), (640, 1), (1024, 1024)])
def test_boxes_lie_where_preprocess_puts_the_image(resize, width, height):
    policy = InputPolicy(height=96, width=96, resize=resize)
    drawn = np.array([[0.1 * width, 0.2 * height, 0.9 * width, 0.8 * height]])
    _, placement = preprocess(np.zeros((height, width, 3), dtype=np.uint8), policy)
    truth = place(split_boxes([record(drawn, width=width, height=height)], "train"), policy)
    assert np.abs(truth.boxes - placement.to_input(drawn)).max() < 1e-3


def test_crowds_do_not_count_and_images_without_objects_do():
    boxes = split_boxes([record([[0, 0, 20, 20], [0, 0, 30, 30]], crowds=(1,)), record([])], "val")
    report = assignment_of("ssd_resnet10", boxes)
    assert (report.total.objects, report.images, report.split) == (1, 2, "val")


def test_an_empty_split_is_reported_too():
    report = assignment_of("retinanet_resnet10_fpn", split_boxes([], "train"))
    assert (report.total.objects, report.lost_share, report.unmatched_share, report.advice) == (0, 0.0, 0.0, "")


def test_more_objects_than_the_limit_are_sampled_by_whole_images_and_by_seed(monkeypatch):
    monkeypatch.setattr(assignment, "MOST_OBJECTS", 100)
    boxes = drawn_boxes()
    report = assignment_of("retinanet_resnet10_fpn", boxes)
    assert report.sampled and (report.images, report.total.objects) == (12, 96)
    assert (report.all_images, report.all_objects) == (30, 240)
    assert assignment_of("retinanet_resnet10_fpn", boxes) == report
    assert assignment_of("retinanet_resnet10_fpn", boxes, seed=1) != report


def test_fewer_are_counted_where_each_object_has_very_many_anchors_around_it(monkeypatch):
    monkeypatch.setattr(assignment, "ADVICE_OBJECTS", 16)
    monkeypatch.setattr(assignment, "MOST_PAIRS", 5_000)
    report = assignment_of("fasterrcnn_resnet50_fpn", drawn_boxes(lo=50))
    assert report.sampled and 8 <= report.total.objects < 200


def test_a_sample_has_at_least_one_image():
    assert len(sample_images(np.zeros(50, dtype=np.int64), 1, limit=10, seed=0)) == 1
    assert sample_images(np.array([0, 0, 1]), 3, limit=3, seed=0).tolist() == [0, 1, 2]


def test_advice_names_a_larger_input_only_where_it_helps():
    small = assignment_of("fcos_resnet10_fpn", drawn_boxes(lo=9, hi=20))
    assert small.lost_share > 0.1
    assert small.advice.endswith("raise the input size to 416.")
    raised = assignment_of("fcos_resnet10_fpn", drawn_boxes(lo=9, hi=20), input_size=416)
    assert raised.lost_share <= 0.1 and raised.advice == ""
    hopeless = assignment_of("fcos_resnet10_fpn", drawn_boxes(lo=0.5, hi=1))
    assert "no input up to 1280 px changes that" in hopeless.advice


def test_advice_is_to_fit_the_anchors_unless_they_are_fitted():
    boxes = drawn_boxes(lo=5, hi=30)
    own = assignment_of("retinanet_resnet10_fpn", boxes)
    assert own.unmatched_share > 0.1 and "fit the anchors" in own.advice
    fitted = assignment_of("retinanet_resnet10_fpn", boxes, options=anchors_for("retinanet_resnet10_fpn", boxes).options)
    assert "fit the anchors" not in fitted.advice
    assert fitted.unmatched_share < own.unmatched_share
    assert fitted.anchors != own.anchors


def test_the_neck_of_a_recipe_is_followed_and_leaves_the_anchors_to_be_fitted():
    boxes = drawn_boxes(lo=5, hi=30)
    report = assignment_of("retinanet_resnet10_fpn", boxes, options={"neck": "single", "classification": {"loss": "varifocal"}})
    (level,) = report.levels
    assert (level.cell, level.per_place) == (16, 36)
    assert report.anchors.neck == "single" and len(report.anchors.anchor_sizes) == 1
    assert "fit the anchors" in report.advice


def test_anchors_are_also_taken_as_model_options_of_a_recipe():
    options = {"anchor_sizes": [[6], [12], [24], [48]], "head_convs": 3}
    report = assignment_of("retinanet_resnet10_fpn", drawn_boxes(), options=options)
    assert report.anchors.anchor_sizes == ((6,), (12,), (24,), (48,))
    assert report.levels[0].per_place == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "nothing"}, "there is no detector named 'nothing'; use one of"),
        ({"input_size": 5000}, "height"),
        ({"options": {"anchor_sizes": "large"}}, "anchor_sizes"),
        ({"options": {"anchor_sizes": [[8]]}}, "has 4 levels and anchor_sizes has 1"),
    ],
)
def test_what_cannot_be_reported_is_refused_with_a_sentence(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        assignment_of(**({"model": "retinanet_resnet10_fpn", "boxes": drawn_boxes()} | arguments))
