"""The accuracy card as one: which parts it has, and on what the threshold is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.evaluation.card import accuracy_card
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.evaluation.operating_point import choose_threshold
from detection_core.schemas.accuracy import AccuracyCard
from tests.detection_core.evaluation.cases import found, generated, truth


def card_of(ground_truth, detections, **changes):
    given = {"groups": None, "operating": None, "chosen_on": "test", "draws": 50} | changes
    return accuracy_card(ground_truth, detections, **given)


def test_the_card_is_whole_and_survives_storage():
    ground_truth, detections = generated(4)
    card, draws = card_of(ground_truth, detections)
    assert AccuracyCard.parse(card.to_json()) == card
    assert None not in (card.bootstrap, card.operating_point, card.confusion, card.errors, card.calibration)
    assert {name: len(values) for name, values in draws.items()} == dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ar_100"), 50)
    assert card.errors.ap50 == pytest.approx(coco_metrics(ground_truth, detections)[0].ap50)


def test_the_threshold_comes_from_the_operating_split_where_there_is_one():
    case, other = generated(4), generated(13)
    card, _ = card_of(*case, operating=other, chosen_on="val")
    assert card.operating_point.score_thresh == choose_threshold(*other) != choose_threshold(*case)
    assert card.operating_point.chosen_on == "val"


@pytest.mark.parametrize("detections", [found(), found((1, 1, (1, 1, 9, 9), 0.9))], ids=["no detections", "no ground truth"])
def test_nothing_to_count_still_makes_a_card(detections):
    card, draws = card_of(truth([]), detections)
    assert card.bootstrap.intervals["ap"] is None and np.isnan(draws["ap"]).all()
    assert card.operating_point.recall is None


def test_scores_that_are_no_shares_leave_intervals_and_errors_only():
    ground_truth, detections = generated(4)
    card, _ = card_of(ground_truth, detections * [1, 1, 1, 1, 1, 30, 1])
    assert card.bootstrap and card.errors and card.operating_point is None and card.calibration is None
