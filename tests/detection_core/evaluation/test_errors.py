"""TIDE's kinds of error and calibration, worked by hand, and against a plain second way and hotcoco on generated cases."""

from __future__ import annotations

import hotcoco
import numpy as np
import pytest

from detection_core.evaluation.coco_metrics import _plain_truth, coco_metrics
from detection_core.evaluation.errors import KINDS, calibration, error_shares, explain
from detection_core.evaluation.greedy import make_case, match, overlaps_of
from detection_core.schemas.base import InvalidInput
from tests.detection_core.evaluation.cases import found, generated, truth
from tests.detection_core.evaluation.plain_tide import plain_ece, plain_tide

BOX = (100, 100, 50, 50)
FAR = (400, 300, 50, 50)
NOWHERE = (300, 10, 40, 40)
CROWD = (0, 400, 100, 80)
SCENE = truth([(1, 1, BOX, 0), (1, 2, FAR, 0), (1, 1, CROWD, 1)], classes=2)
SCENE_FOUND = [
    ((1, 1, BOX, 0.95), "tp", 0),
    ((1, 1, (101, 100, 50, 50), 0.9), "dupe", 0),
    ((1, 1, (130, 100, 50, 50), 0.8), "loc", 0),  # IoU 1/4
    ((1, 1, FAR, 0.7), "cls", 1),
    ((1, 1, (430, 300, 50, 50), 0.6), "both", 1),  # IoU 1/4
    ((1, 1, NOWHERE, 0.5), "bkg", -1),
    ((1, 1, (10, 410, 20, 20), 0.4), "ignored", 2),
]


def explained(ground_truth, rows):
    case = make_case(ground_truth, rows)
    overlaps = overlaps_of(case)
    return explain(case, overlaps, match(case, overlaps))


def test_every_detection_has_its_kind_and_the_object_that_the_kind_is_about():
    result = explained(SCENE, found(*(row for row, _, _ in SCENE_FOUND)))
    assert [KINDS[kind] for kind in result.kind] == [kind for _, kind, _ in SCENE_FOUND]
    assert result.truth.tolist() == [about for _, _, about in SCENE_FOUND]


def test_kinds_are_counted_with_the_objects_that_are_missed():
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, FAR, 0), (1, 1, CROWD, 1), (1, 2, NOWHERE, 0)], classes=2)
    shares = error_shares(ground_truth, found(*(row for row, kind, _ in SCENE_FOUND if kind != "bkg")))
    # FAR is not missed, for mending the Cls error would find it.
    assert shares.counts == {"Cls": 1, "Loc": 1, "Both": 1, "Dupe": 1, "Bkg": 0, "Miss": 1}
    assert (shares.foreground_iou, shares.background_iou) == (0.5, 0.1)


def test_the_rules_come_in_tides_order_at_their_borders():
    tall = (0, 0, 10, 100)
    cases = {
        "dupe": [(1, 1, tall, 0.9), (1, 1, (0, 0, 10, 50.1), 0.8)],
        "loc": [(1, 1, tall, 0.9), (1, 1, (0, 0, 10, 50), 0.8)],  # IoU of exactly 0.5 is Loc, as in tidecv
        "bkg": [(1, 1, tall, 0.9), (1, 1, (0, 0, 10, 9), 0.8)],
    }
    for kind, rows in cases.items():
        assert KINDS[explained(truth([(1, 1, tall, 0)]), found(*rows)).kind[1]] == kind
    assert KINDS[explained(truth([(1, 1, tall, 0)]), found((1, 1, (0, 0, 10, 10), 0.8))).kind[0]] == "loc"  # exactly 0.1
    two = truth([(1, 1, tall, 0), (1, 2, (0, 0, 10, 60), 0)], classes=2)
    assert KINDS[explained(two, found((1, 1, (0, 0, 10, 45), 0.8))).kind[0]] == "loc"  # before Cls
    other = truth([(1, 2, tall, 0)], classes=2)
    assert KINDS[explained(other, found((1, 1, (0, 0, 10, 10), 0.8))).kind[0]] == "bkg"  # exactly 0.1 with another class
    assert KINDS[explained(other, found((1, 1, (0, 0, 10, 50), 0.8))).kind[0]] == "cls"


def test_an_error_about_an_object_that_is_found_already_is_taken_away_not_made_right():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    rows = found((1, 1, BOX, 0.9), (1, 1, (130, 100, 50, 50), 0.8), (1, 1, NOWHERE, 0.7), (1, 1, FAR, 0.6))
    shares = error_shares(ground_truth, rows)
    # Recall 1/2 at precision 1 on 51 of the 101 points, recall 1 at precision 2/4; with either false alarm away 2/3.
    assert shares.ap50 == pytest.approx((51 + 50 * 2 / 4) / 101)
    assert shares.gain["Loc"] == pytest.approx(50 * (2 / 3 - 2 / 4) / 101)
    assert shares.gain["Bkg"] == pytest.approx(shares.gain["Loc"])
    assert shares.gain["FP"] == pytest.approx(1 - shares.ap50)
    assert shares.gain["Cls"] == shares.gain["Both"] == shares.gain["Dupe"] == shares.gain["Miss"] == shares.gain["FN"] == 0


def test_a_mended_cls_error_counts_for_the_class_of_the_object():
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, FAR, 0)], classes=2)
    shares = error_shares(ground_truth, found((1, 2, BOX, 0.9), (1, 2, FAR, 0.5)))
    assert shares.ap50 == pytest.approx((0 + 1 / 2) / 2)
    assert shares.gain["Cls"] == pytest.approx(3 / 4)
    assert shares.counts["Miss"] == 0


def test_of_two_errors_about_one_object_the_better_scored_alone_is_made_right():
    ground_truth = truth([(1, 1, BOX, 0)])
    rows = found((1, 1, (130, 100, 50, 50), 0.9), (1, 1, (125, 100, 50, 50), 0.8))
    shares = error_shares(ground_truth, rows)
    assert shares.counts["Loc"] == 2 and shares.ap50 == 0 and shares.gain["Loc"] == pytest.approx(1)
    # Cls and Loc errors about one object compete: mending Loc takes the worse one away and makes nothing right.
    two = truth([(1, 1, BOX, 0), (1, 2, FAR, 0)], classes=2)
    shares = error_shares(two, found((1, 2, BOX, 0.9), (1, 1, (130, 100, 50, 50), 0.8), (1, 2, FAR, 0.95)))
    assert shares.gain["Loc"] == 0 and shares.gain["Cls"] == pytest.approx(1 / 2)


def test_a_missed_object_is_mended_by_taking_it_away():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    shares = error_shares(ground_truth, found((1, 1, BOX, 0.9)))
    assert shares.gain["Miss"] == shares.gain["FN"] == pytest.approx(1 - 51 / 101)
    # A class that loses all its objects leaves the mean.
    shares = error_shares(truth([(1, 1, BOX, 0), (1, 2, FAR, 0)], classes=2), found((1, 1, BOX, 0.9)))
    assert shares.ap50 == pytest.approx(1 / 2) and shares.gain["Miss"] == pytest.approx(1 / 2)


def test_without_ground_truth_ap50_is_undefined_and_nothing_is_gained():
    shares = error_shares(truth([]), found((1, 1, BOX, 0.9)))
    assert shares.ap50 is None and shares.counts["Bkg"] == 1 and set(shares.gain.values()) == {0}
    assert error_shares(truth([(1, 1, BOX, 0)]), found()).counts["Miss"] == 1


@pytest.mark.parametrize("seed", range(15))
def test_errors_of_a_generated_case_are_those_of_the_plain_way(seed):
    ground_truth, rows = generated(seed)
    shares, plain = error_shares(ground_truth, rows), plain_tide(ground_truth, rows)
    assert shares.counts == plain["counts"]
    assert shares.gain == pytest.approx(plain["gain"], abs=1e-12)
    metrics, _ = coco_metrics(ground_truth, rows)
    assert shares.ap50 == (None if metrics.ap50 is None else pytest.approx(metrics.ap50, abs=1e-12))


def test_calibration_by_hand():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    rows = found((1, 1, BOX, 0.9), (1, 1, NOWHERE, 0.94), (1, 1, FAR, 0.3), (1, 1, NOWHERE, 0.07))
    result = calibration(ground_truth, rows)
    assert (result.score_floor, result.detections, len(result.bins)) == (0.05, 4, 10)
    assert result.ece == pytest.approx((2 * abs(0.5 - 0.92) + abs(1 - 0.3) + abs(0 - 0.07)) / 4)
    top = result.bins[9]
    assert (top.low, top.high, top.count, top.mean_score, top.precision) == (0.9, 1, 2, pytest.approx(0.92), 0.5)
    assert result.bins[5].count == 0 and result.bins[5].mean_score is None and result.bins[5].precision is None


def test_a_score_on_a_border_stands_in_the_bin_that_begins_there_and_one_in_the_last():
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    result = calibration(truth([]), found(*((1, 1, NOWHERE, score) for score in scores)))
    assert [entry.count for entry in result.bins] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    assert calibration(truth([]), found((1, 1, BOX, 1.0)), bins=1).bins[0].count == 1


def test_scores_up_to_the_floor_and_what_a_crowd_hides_do_not_count_in_calibration():
    ground_truth = truth([(1, 1, CROWD, 1)])
    rows = found((1, 1, (10, 410, 20, 20), 0.9), (1, 1, NOWHERE, 0.05), (1, 1, NOWHERE, 0.4))
    assert calibration(ground_truth, rows).detections == 1
    assert calibration(ground_truth, rows, score_floor=0.0).detections == 2
    nothing = calibration(ground_truth, rows, score_floor=0.5)
    assert nothing.detections == 0 and nothing.ece is None


def test_calibration_of_scores_above_one_is_refused_by_name():
    with pytest.raises(InvalidInput, match="scores from 0 to 1"):
        calibration(truth([]), found((1, 1, BOX, 12.0)))


@pytest.mark.parametrize("seed", range(15))
def test_calibration_of_a_generated_case_is_that_of_the_plain_way_and_of_hotcoco(seed):
    ground_truth, rows = generated(seed)
    result = calibration(ground_truth, rows)
    assert (result.ece or 0) == pytest.approx(plain_ece(ground_truth, rows, floor=0.05, bins=10), abs=1e-12)
    if result.detections:
        reference = hotcoco.COCO(_plain_truth(ground_truth))
        evaluation = hotcoco.COCOeval(reference, reference.load_res(np.ascontiguousarray(rows[rows[:, 5] > 0.05])), "bbox")
        evaluation.evaluate()
        theirs = evaluation.calibration(n_bins=10, iou_threshold=0.5)
        assert result.ece == pytest.approx(theirs["ece"], abs=1e-12) and result.detections == theirs["num_detections"]
