"""The operating point and the confusion matrix, counted by hand, and against hotcoco where it counts alike."""

from __future__ import annotations

import hotcoco
import numpy as np
import pytest

from detection_core.evaluation.coco_metrics import _plain_truth
from detection_core.evaluation.operating_point import choose_threshold, confusion, operating_point
from detection_core.schemas.base import InvalidInput
from tests.detection_core.evaluation.cases import found, generated, truth

BOX = (100, 100, 50, 50)
FAR = (400, 300, 50, 50)
TINY = (10, 10, 20, 20)
NOWHERE = (300, 10, 40, 40)


def test_the_threshold_has_the_largest_f1_of_the_scores_that_occur():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    # F1 from the top: 2/3, then 2/4 with the false alarm, then 4/5, then 4/6.
    rows = found((1, 1, BOX, 0.9), (1, 1, NOWHERE, 0.8), (1, 1, FAR, 0.6), (1, 1, TINY, 0.2))
    assert choose_threshold(ground_truth, rows) == 0.6
    point = operating_point(ground_truth, rows, score_thresh=0.6, chosen_on="val")
    assert point.f1 == pytest.approx(4 / 5)


def test_of_equal_f1_the_highest_score_is_taken():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    # F1 is 2/3 at 0.9, and 4/6 again at 0.1.
    rows = found((1, 1, FAR, 0.1), (1, 1, TINY, 0.3), (1, 1, NOWHERE, 0.4), (1, 1, BOX, 0.9))
    assert choose_threshold(ground_truth, rows) == 0.9


def test_detections_of_one_score_are_kept_or_left_together():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    # At 0.9 F1 is 2/3. Of those at 0.5 the first alone would give 1, all together give 4/7.
    rows = found((1, 1, BOX, 0.9), (1, 1, FAR, 0.5), (1, 1, NOWHERE, 0.5), (1, 1, NOWHERE, 0.5), (1, 1, TINY, 0.5))
    assert choose_threshold(ground_truth, rows) == 0.9
    point = operating_point(ground_truth, rows, score_thresh=0.5, chosen_on="val")
    assert (point.true_positives, point.false_positives, point.f1) == (2, 3, pytest.approx(4 / 7))


def test_the_threshold_is_over_all_classes_together():
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, FAR, 0)], classes=2)
    rows = found((1, 1, BOX, 0.9), (1, 2, FAR, 0.3), (1, 2, NOWHERE, 0.1))
    assert choose_threshold(ground_truth, rows) == 0.3


def test_without_anything_right_the_highest_score_is_taken_and_without_detections_one_half():
    assert choose_threshold(truth([(1, 1, BOX, 0)]), found((1, 1, FAR, 0.4), (1, 1, FAR, 0.7))) == 0.7
    assert choose_threshold(truth([]), found((1, 1, FAR, 0.4))) == 0.4
    assert choose_threshold(truth([(1, 1, BOX, 0)]), found()) == 0.5


def test_precision_recall_f1_and_false_alarms_are_counted_over_all_and_by_class():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, TINY, 0), (2, 2, BOX, 0), (2, 2, FAR, 0)], images=4, classes=3)
    rows = found(
        (1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (2, 2, BOX, 0.7), (3, 2, FAR, 0.6), (3, 3, FAR, 0.5), (2, 2, FAR, 0.4), (1, 1, TINY, 0.3)
    )  # fmt: skip
    point = operating_point(ground_truth, rows, score_thresh=0.5, chosen_on="test")
    assert point.score_thresh == 0.5 and point.chosen_on == "test" and point.criterion == "max_f1"
    assert (point.true_positives, point.false_positives, point.ground_truths) == (2, 3, 4)
    assert (point.precision, point.recall, point.f1) == pytest.approx((2 / 5, 2 / 4, 4 / 9))
    assert point.false_positives_per_image == pytest.approx(3 / 4)
    assert (point.small_recall, point.small_ground_truths) == (0, 1)
    counts = [(entry.ground_truths, entry.detections, entry.true_positives) for entry in point.per_class]
    assert counts == [(2, 2, 1), (2, 2, 1), (0, 1, 0)]
    assert (point.per_class[0].precision, point.per_class[0].recall, point.per_class[0].f1) == (0.5, 0.5, 0.5)
    assert (point.per_class[2].precision, point.per_class[2].recall, point.per_class[2].f1) == (0, None, None)


def test_an_object_is_small_up_to_32_squared_as_in_coco_by_its_area_not_by_its_box():
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0), (1, 1, TINY, 0), (1, 1, NOWHERE, 0)])
    for entry, area in zip(ground_truth["annotations"], (1023, 1024, 400, 1024.5), strict=True):
        entry["area"] = area
    rows = found((1, 1, BOX, 0.9), (1, 1, FAR, 0.9), (1, 1, NOWHERE, 0.9))
    point = operating_point(ground_truth, rows, score_thresh=0.5, chosen_on="val")
    assert point.small_ground_truths == 3 and point.small_recall == pytest.approx(2 / 3)


def test_crowds_and_what_they_hide_do_not_count():
    ground_truth = truth([(1, 1, (0, 0, 200, 200), 1), (1, 1, FAR, 0)])
    rows = found((1, 1, BOX, 0.95), (1, 1, TINY, 0.9), (1, 1, FAR, 0.8))
    assert choose_threshold(ground_truth, rows) == 0.8
    point = operating_point(ground_truth, rows, score_thresh=0.8, chosen_on="val")
    assert (point.true_positives, point.false_positives, point.ground_truths) == (1, 0, 1)
    assert point.small_recall is None and point.per_class[0].detections == 1


def test_an_operating_point_of_nothing_is_undefined_not_zero():
    point = operating_point(truth([]), found(), score_thresh=0.5, chosen_on="val")
    assert point.precision is None and point.recall is None and point.f1 is None
    assert operating_point(truth([], images=0), found(), score_thresh=0.5, chosen_on="val").false_positives_per_image == 0


def test_scores_above_one_are_refused_by_name():
    with pytest.raises(InvalidInput, match="scores from 0 to 1"):
        choose_threshold(truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 12.0)))


def test_confusion_counts_what_is_taken_for_what_with_background_last():
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, FAR, 0), (2, 2, BOX, 0)], images=2, classes=2)
    rows = found((1, 1, BOX, 0.9), (1, 1, FAR, 0.8), (1, 2, NOWHERE, 0.7), (2, 2, BOX, 0.4))
    result = confusion(ground_truth, rows, score_thresh=0.5)
    assert result.classes == ("class 1", "class 2")
    # Of class 2 one is taken for class 1 and one, whose score is too low, is not found; class 2 is seen once in the background.
    assert result.counts == ((1, 0, 0), (1, 0, 1), (0, 1, 0))
    assert confusion(ground_truth, rows, score_thresh=0.4).counts == ((1, 0, 0), (1, 1, 0), (0, 1, 0))


def test_confusion_leaves_out_crowds_and_what_lies_in_one_of_its_class():
    ground_truth = truth([(1, 1, (0, 0, 200, 200), 1)], classes=2)
    result = confusion(ground_truth, found((1, 1, BOX, 0.9), (1, 2, BOX, 0.9)), score_thresh=0.5)
    assert result.counts == ((0, 0, 0), (0, 0, 0), (0, 1, 0))


@pytest.mark.parametrize("seed", range(20))
def test_confusion_is_that_of_hotcoco_where_there_are_no_crowds(seed):
    ground_truth, rows = generated(seed)
    for entry in ground_truth["annotations"]:
        entry["iscrowd"] = 0
    # Of equal scores each takes its own order, and beyond 100 an image its own choice.
    rows[:, 5] = np.random.default_rng(seed).permutation(len(rows)) / max(len(rows), 1)
    reference = hotcoco.COCO(_plain_truth(ground_truth))
    evaluation = hotcoco.COCOeval(reference, reference.load_res(rows), "bbox")
    matrix = evaluation.confusion_matrix(iou_thr=0.5, max_det=1000, min_score=0.5)["matrix"]
    assert np.array(confusion(ground_truth, rows, score_thresh=0.5).counts).tolist() == matrix.tolist()
