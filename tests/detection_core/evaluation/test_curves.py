"""The file `curves`: precision by recall as both evaluators have it, F1 by threshold, draws as they came."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from detection_core.evaluation.coco_metrics import ALL, IOU_50, TOP_100, _hotcoco_arrays, _plain_truth
from detection_core.evaluation.curves import f1_by_threshold, precision_by_class, write_curves
from detection_core.evaluation.greedy import matched_case
from detection_core.evaluation.operating_point import choose_threshold, operating_point
from detection_core.schemas.accuracy import Bootstrap
from tests.detection_core.evaluation.cases import found, generated, truth

BOX = (100, 100, 50, 50)
FAR = (400, 300, 50, 50)
NOWHERE = (300, 10, 40, 40)
BOOTSTRAP = Bootstrap(draws=3, seed=0, unit="group", units=2, key="ab" * 32, intervals={"ap": None})


def written(path, ground_truth, rows, draws=None, bootstrap=None):
    write_curves(path, ground_truth, rows, draws=draws or {}, bootstrap=bootstrap)
    return json.loads(gzip.decompress(path.read_bytes()))


def test_precision_is_the_best_at_that_recall_or_more_and_zero_where_it_is_not_reached(tmp_path):
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)], classes=2)
    document = written(tmp_path / "c", ground_truth, found((1, 1, NOWHERE, 0.9), (1, 1, BOX, 0.8), (1, 2, BOX, 0.7)))
    assert document["version"] == 1 and document["classes"] == ["class 1", "class 2"]
    assert document["recall"] == [pytest.approx(number / 100) for number in range(101)]
    assert document["precision"]["class 1"] == [0.5] * 51 + [0.0] * 50
    assert document["precision"]["class 2"] == [None] * 101


@pytest.mark.parametrize("seed", range(10))
def test_precision_of_a_generated_case_is_that_of_the_evaluator(seed):
    ground_truth, rows = generated(seed)
    arrays, _ = _hotcoco_arrays(_plain_truth(ground_truth), rows)
    for label, curve in enumerate(precision_by_class(*matched_case(ground_truth, rows)).values()):
        theirs = arrays[IOU_50, :, label, ALL, TOP_100]
        assert curve == ([None] * 101 if theirs[0] < 0 else pytest.approx(theirs.tolist(), abs=1e-6))


def test_classes_of_one_name_keep_a_curve_each():
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, BOX, 0)], classes=2)
    ground_truth["categories"][1]["name"] = "class 1"
    assert list(precision_by_class(*matched_case(ground_truth, found()))) == ["class 1 (1)", "class 1 (2)"]


def test_f1_rises_and_falls_over_the_scores_that_occur():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    rows = found((1, 1, BOX, 0.9), (1, 1, NOWHERE, 0.6), (1, 1, FAR, 0.4))
    curve = f1_by_threshold(*matched_case(ground_truth, rows))
    assert curve["score_thresh"] == [0.4, 0.6, 0.9]
    assert curve["precision"] == pytest.approx([2 / 3, 1 / 2, 1], abs=1e-6)
    assert curve["recall"] == [1, 0.5, 0.5]
    assert curve["f1"] == pytest.approx([4 / 5, 2 / 4, 2 / 3], abs=1e-6)


def test_there_are_200_thresholds_at_most_the_best_and_the_lowest_among_them():
    rng = np.random.default_rng(3)
    boxes = [(1, 1, (10 * number, 0, 8, 8), 0) for number in range(60)]
    rows = found(*((1, 1, (10 * number, 0, 8, 8), rng.random()) for number in range(90)))
    rows = np.concatenate([rows, found(*((2, 1, (0, 0, 8, 8), value) for value in rng.random(95))), found((3, 1, BOX, 0.97))])
    rows = np.concatenate([rows, found(*((3, 1, FAR, value) for value in rng.random(80) / 10))])
    ground_truth = truth(boxes, images=3)
    curve = f1_by_threshold(*matched_case(ground_truth, rows))
    thresholds = curve["score_thresh"]
    assert 100 < len(thresholds) <= 200 and thresholds == sorted(set(thresholds)) and set(thresholds) <= set(rows[:, 5])
    assert thresholds[0] == rows[:, 5].min() and thresholds[-1] == rows[:, 5].max()
    assert thresholds[int(np.argmax(curve["f1"]))] == choose_threshold(ground_truth, rows)
    for index in (0, 40, 90):
        point = operating_point(ground_truth, rows, score_thresh=thresholds[index], chosen_on="val")
        assert (curve["precision"][index], curve["recall"][index]) == pytest.approx((point.precision, point.recall), abs=1e-6)


def test_draws_pass_through_with_what_they_came_from(tmp_path):
    draws = {"ap": np.array([0.1, np.nan, 1 / 3]), "ap_small": [None, 0.5, 0.25]}
    document = written(tmp_path / "c", truth([(1, 1, BOX, 0)]), found(), draws, BOOTSTRAP)
    assert document["draws"] == {"ap": [0.1, None, 1 / 3], "ap_small": [None, 0.5, 0.25]}
    assert document["bootstrap_key"] == "ab" * 32 and document["unit"] == "group"


def test_curves_of_nothing_are_written_and_equal_input_gives_equal_bytes(tmp_path):
    document = written(tmp_path / "a", truth([], images=0), found())
    assert document["f1"]["score_thresh"] == [] and document["bootstrap_key"] is None
    ground_truth, rows = generated(1)
    written(tmp_path / "one", ground_truth, rows)
    written(tmp_path / "two", ground_truth, rows)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[4:8] == bytes(4)  # gzip's clock
