"""The published numbers of the COCO API's own example, from both evaluators and from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detection_core.__main__ import main
from detection_core.evaluation.bootstrap import NUMBERS, weighted_numbers
from detection_core.evaluation.coco_files import read_detections, read_ground_truth
from detection_core.evaluation.coco_metrics import audit, coco_metrics
from detection_core.evaluation.matching import match
from tests.data_at_hand import data_folder

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
DETECTIONS = "instances_val2014_fakebbox100_results.json"


@pytest.fixture
def folder():
    return data_folder("map-eval")


@pytest.fixture
def expected(folder):
    return json.loads((folder / "expected_stats.json").read_text())["bbox"]["stats"]


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_all_twelve_published_numbers_come_out_to_nine_places(folder, expected, engine):
    ground_truth = read_ground_truth(folder / "instances_val2014_100.json")
    detections, foreign = read_detections(folder / DETECTIONS, ground_truth)
    metrics, per_class = coco_metrics(ground_truth, detections, engine=engine)
    assert [getattr(metrics, name) for name in NAMES] == pytest.approx(expected, abs=1e-9)
    assert foreign == 0
    assert len(per_class) == 80


def test_the_audit_finds_no_difference(folder):
    ground_truth = read_ground_truth(folder / "instances_val2014_100.json")
    detections, _ = read_detections(folder / DETECTIONS, ground_truth)
    word = audit(ground_truth, detections)
    assert word.engine == "pycocotools 2.0.11"
    assert word.images == 100
    assert word.max_abs_difference < 1e-12


def test_the_command_line_prints_the_published_numbers_as_one_json_document(folder, expected, capfd):
    status = main(
        ["evaluate", "--ground-truth", str(folder / "instances_val2014_100.json"), "--predictions", str(folder / DETECTIONS), "--json"]
    )
    document = json.loads(capfd.readouterr().out)
    assert status == 0
    assert [document[name] for name in NAMES] == pytest.approx(expected, abs=1e-9)


def test_the_matches_made_once_give_the_published_numbers(folder, expected):
    ground_truth = read_ground_truth(folder / "instances_val2014_100.json")
    detections, _ = read_detections(folder / DETECTIONS, ground_truth)
    drawn = weighted_numbers(match(ground_truth, detections), np.ones((100, 1), np.int32))
    assert {name: drawn[name][0] for name in NUMBERS} == pytest.approx({name: expected[NAMES.index(name)] for name in NUMBERS}, abs=1e-9)
