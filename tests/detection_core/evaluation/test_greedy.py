"""The greedy matcher: cases by hand, and the same true and false positives as pycocotools on generated ones."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection_core.evaluation import greedy
from detection_core.evaluation.greedy import at_least, make_case, match, matched_case, overlaps_of, refuse_scores_outside_unit
from detection_core.schemas.base import InvalidInput
from tests.detection_core.evaluation.cases import found, generated, truth

BOX = (100, 100, 50, 50)
NEAR = (110, 100, 50, 50)  # IoU 2/3 with BOX
FAR = (400, 300, 50, 50)


def matches_of(ground_truth, detections, **options):
    case = make_case(ground_truth, detections)
    return case, match(case, overlaps_of(case), **options)


def test_the_better_score_takes_the_object_whatever_the_order_of_the_rows():
    case, matches = matches_of(truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 0.5), (1, 1, NEAR, 0.9)))
    assert case.scores.tolist() == [0.9, 0.5] and case.row.tolist() == [1, 0]
    assert matches.truth.tolist() == [0, -1]


def test_a_detection_takes_the_free_object_that_it_overlaps_most():
    ground_truth = truth([(1, 1, NEAR, 0), (1, 1, BOX, 0)])
    _, matches = matches_of(ground_truth, found((1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, BOX, 0.7)))
    assert matches.truth.tolist() == [1, 0, -1]


def test_of_two_objects_of_equal_overlap_the_later_is_taken_as_coco_does():
    _, matches = matches_of(truth([(1, 1, BOX, 0), (1, 1, BOX, 0)]), found((1, 1, BOX, 0.9)))
    assert matches.truth.tolist() == [1]


def test_an_iou_of_exactly_one_half_is_a_match():
    _, matches = matches_of(truth([(1, 1, (0, 0, 10, 10), 0)]), found((1, 1, (0, 0, 10, 5), 0.9), (1, 1, (0, 0, 10, 4.9), 0.95)))
    assert matches.truth.tolist() == [-1, 0]


def test_objects_of_other_classes_and_images_are_not_taken():
    ground_truth = truth([(1, 2, BOX, 0), (2, 1, BOX, 0)], images=2, classes=2)
    _, matches = matches_of(ground_truth, found((1, 1, BOX, 0.9)))
    assert matches.truth.tolist() == [-1]


def test_a_crowd_hides_any_number_of_detections_of_its_class_that_find_no_object():
    ground_truth = truth([(1, 1, (0, 0, 200, 200), 1), (1, 1, BOX, 0)], classes=2)
    rows = found((1, 1, BOX, 0.9), (1, 1, (10, 10, 20, 20), 0.8), (1, 1, (190, 10, 20, 20), 0.7), (1, 2, (10, 10, 20, 20), 0.6))
    _, matches = matches_of(ground_truth, rows)
    assert matches.truth.tolist() == [1, -1, -1, -1]
    assert matches.hidden.tolist() == [False, True, True, False]  # the third lies in it by exactly one half


def test_whatever_the_class_an_object_of_the_own_class_wins_at_equal_overlap_only():
    same_place = truth([(1, 1, BOX, 0), (1, 2, BOX, 0)], classes=2)
    _, matches = matches_of(same_place, found((1, 1, BOX, 0.9), (1, 1, BOX, 0.8)), any_class=True)
    assert matches.truth.tolist() == [0, 1]
    nearer = truth([(1, 1, NEAR, 0), (1, 2, BOX, 0)], classes=2)
    assert matches_of(nearer, found((1, 1, BOX, 0.9)), any_class=True)[1].truth.tolist() == [1]


def test_rows_of_unknown_images_and_classes_and_those_after_the_hundredth_do_not_count():
    rows = [(1, 1, FAR, 0.5 + number / 1000) for number in range(101)]
    case, _ = matches_of(truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 0.1), *rows, (1, 7, BOX, 0.9), (9, 1, BOX, 0.9)))
    assert len(case.scores) == 100
    assert case.scores.min() == pytest.approx(0.501)


def test_scores_above_take_only_larger_ones_and_at_least_takes_equal_ones_too():
    ground_truth, rows = truth([]), found((1, 1, BOX, 0.5), (1, 1, BOX, 0.50001))
    assert len(make_case(ground_truth, rows, above=0.5).scores) == 1
    assert len(make_case(ground_truth, rows, above=at_least(0.5)).scores) == 2


def test_nothing_at_all_is_matched_to_nothing():
    for ground_truth in (truth([]), truth([], images=0), truth([], classes=0), truth([(1, 1, BOX, 0)])):
        case, matches = matches_of(ground_truth, found())
        assert matches.truth.tolist() == [] and matches.found(len(case.truth_image)).sum() == 0


def test_scores_that_are_no_shares_are_refused_with_the_remedy():
    refuse_scores_outside_unit(np.array([0.0, 1.0]))
    refuse_scores_outside_unit(np.zeros(0))
    with pytest.raises(InvalidInput, match=r"from -3 to 12.*scores from 0 to 1"):
        refuse_scores_outside_unit(np.array([-3.0, 12.0]))


def of_pycocotools(ground_truth, rows):
    """What pycocotools makes of each row at IoU 0.5: "right", "wrong", "hidden", or nothing where it does not count."""
    annotations = [{**entry, "id": number} for number, entry in enumerate(ground_truth["annotations"], start=1)]
    results = [
        {"id": number, "image_id": int(row[0]), "bbox": row[1:5], "area": row[3] * row[4], "score": row[5], "category_id": int(row[6])}
        for number, row in enumerate(rows.tolist(), start=1)
    ]
    reference, predictions = COCO(), COCO()
    reference.dataset = {**ground_truth, "annotations": annotations}
    predictions.dataset = {**ground_truth, "annotations": [{**entry, "iscrowd": 0} for entry in results]}
    with contextlib.redirect_stdout(io.StringIO()):
        reference.createIndex()
        predictions.createIndex()
        evaluation = COCOeval(reference, predictions, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    became = {}
    for cell in filter(None, evaluation.evalImgs):
        for number, matched, ignored in zip(cell["dtIds"], cell["dtMatches"][0], cell["dtIgnore"][0], strict=True):
            became[number - 1] = ("hidden", -1) if ignored else ("right", int(matched) - 1) if matched else ("wrong", -1)
    return became


@pytest.mark.parametrize("seed", range(40))
def test_every_detection_becomes_what_pycocotools_makes_of_it(seed, monkeypatch):
    monkeypatch.setattr(greedy, "PAIRS_AT_ONCE", 50)  # many chunks
    ground_truth, rows = generated(seed)
    case, matches = matched_case(ground_truth, rows)
    ours = {}
    for row, matched, hidden in zip(case.row.tolist(), matches.truth.tolist(), matches.hidden.tolist(), strict=True):
        ours[row] = ("hidden", -1) if hidden else ("right", int(case.annotation[matched])) if matched >= 0 else ("wrong", -1)
    assert ours == of_pycocotools(ground_truth, rows)


@pytest.mark.parametrize("seed", range(5))
def test_matches_above_a_score_do_not_depend_on_what_is_below(seed):
    ground_truth, rows = generated(seed + 100)
    whole_case, whole = matched_case(ground_truth, rows)
    case, matches = matched_case(ground_truth, rows, above=0.45)
    above = whole_case.scores > 0.45
    assert case.row.tolist() == whole_case.row[above].tolist()
    assert matches.truth.tolist() == whole.truth[above].tolist() and matches.hidden.tolist() == whole.hidden[above].tolist()
