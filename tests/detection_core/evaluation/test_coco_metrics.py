"""COCO numbers on cases small enough to do by hand, and both evaluators against each other."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.evaluation import coco_metrics as module
from detection_core.evaluation.coco_metrics import audit, coco_metrics, largest_difference
from tests.detection_core.evaluation.cases import found, generated, truth

ENGINES = pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])


BOX = (100, 100, 50, 50)
FAR = (400, 300, 50, 50)


@ENGINES
def test_a_perfect_detection_has_ap_one_and_undefined_sizes_are_none(engine):
    metrics, per_class = coco_metrics(truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 0.9)), engine=engine)
    assert metrics.ap == pytest.approx(1) and metrics.ap50 == pytest.approx(1) and metrics.ar_1 == pytest.approx(1)
    assert metrics.ap_medium == pytest.approx(1)
    assert metrics.ap_small is None and metrics.ap_large is None and metrics.ar_small is None
    assert per_class[0].ground_truths == 1


@ENGINES
def test_without_ground_truth_every_number_is_none(engine):
    metrics, per_class = coco_metrics(truth([]), found((1, 1, BOX, 0.9)), engine=engine)
    assert set(metrics.to_dict().values()) == {None}
    assert per_class[0].ap is None and per_class[0].ground_truths == 0


@ENGINES
def test_without_detections_the_numbers_are_zero(engine):
    for nothing in (found(), []):
        metrics, _ = coco_metrics(truth([(1, 1, BOX, 0)]), nothing, engine=engine)
        assert metrics.ap == 0 and metrics.ar_100 == 0


@ENGINES
def test_without_images_or_classes_every_number_is_none(engine):
    assert coco_metrics(truth([], images=0), found(), engine=engine)[0].ap is None
    metrics, per_class = coco_metrics(truth([], classes=0), found(), engine=engine)
    assert metrics.ap is None and per_class == ()


@ENGINES
def test_a_better_scored_false_alarm_on_an_empty_image_halves_ap(engine):
    ground_truth = truth([(1, 1, BOX, 0)], images=2)
    metrics, _ = coco_metrics(ground_truth, found((1, 1, BOX, 0.5), (2, 1, BOX, 0.9)), engine=engine)
    assert metrics.ap50 == pytest.approx(0.5)


@ENGINES
def test_of_two_equal_scores_the_first_in_the_file_comes_first(engine):
    ground_truth = truth([(1, 1, BOX, 0)])
    first_right, _ = coco_metrics(ground_truth, found((1, 1, BOX, 0.5), (1, 1, FAR, 0.5)), engine=engine)
    first_wrong, _ = coco_metrics(ground_truth, found((1, 1, FAR, 0.5), (1, 1, BOX, 0.5)), engine=engine)
    assert first_right.ap50 == pytest.approx(1)
    assert first_wrong.ap50 == pytest.approx(0.5)


@ENGINES
def test_a_second_detection_of_one_object_is_a_false_alarm_after_it(engine):
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, FAR, 0)])
    metrics, _ = coco_metrics(ground_truth, found((1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, FAR, 0.7)), engine=engine)
    # Recall 1/2 at precision 1 (51 of the 101 points), recall 1 at precision 2/3.
    assert metrics.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert metrics.ar_1 == pytest.approx(0.5) and metrics.ar_100 == pytest.approx(1)


@ENGINES
def test_detections_inside_a_crowd_are_neither_right_nor_wrong(engine):
    ground_truth = truth([(1, 1, BOX, 0), (1, 1, (300, 200, 200, 200), 1)])
    inside = [(1, 1, (310 + 20 * step, 250, 30, 30), 0.95) for step in range(4)]
    metrics, per_class = coco_metrics(ground_truth, found(*inside, (1, 1, BOX, 0.9)), engine=engine)
    assert metrics.ap50 == pytest.approx(1)
    assert per_class[0].ground_truths == 1


@ENGINES
def test_a_class_without_ground_truth_does_not_count_in_the_mean(engine):
    ground_truth = truth([(1, 1, BOX, 0)], classes=2)
    metrics, per_class = coco_metrics(ground_truth, found((1, 1, BOX, 0.9), (1, 2, FAR, 0.9)), engine=engine)
    assert metrics.ap == pytest.approx(1)
    assert [entry.ap for entry in per_class] == [pytest.approx(1), None]


@ENGINES
def test_a_match_with_annotation_id_zero_counts(engine):
    ground_truth = truth([(1, 1, BOX, 0)])
    assert ground_truth["annotations"][0]["id"] == 0
    assert coco_metrics(ground_truth, found((1, 1, BOX, 0.9)), engine=engine)[0].ap == pytest.approx(1)


@pytest.mark.parametrize("seed", range(30))
def test_both_evaluators_agree_on_a_generated_case(seed):
    ground_truth, detections = generated(seed)
    fast, fast_classes = coco_metrics(ground_truth, detections, engine="hotcoco")
    reference, reference_classes = coco_metrics(ground_truth, detections, engine="pycocotools")
    assert largest_difference(fast, reference) < 1e-12
    for one, other in zip(fast_classes, reference_classes, strict=True):
        assert one.ap == pytest.approx(other.ap, abs=1e-12) and one.ground_truths == other.ground_truths


def test_the_generated_cases_hold_crowds_and_over_a_hundred_detections_and_are_not_trivial():
    cases = [generated(seed) for seed in range(30)]
    assert any(entry["iscrowd"] for ground_truth, _ in cases for entry in ground_truth["annotations"])
    assert any(np.unique(rows[:, [0, 6]], axis=0, return_counts=True)[1].max(initial=0) > 100 for _, rows in cases)
    assert sum(0.05 < (coco_metrics(*case)[0].ap or 0) < 0.95 for case in cases) > 15


def test_detections_as_dicts_and_as_an_array_score_alike():
    ground_truth, rows = generated(4)
    dicts = [{"image_id": int(row[0]), "bbox": row[1:5], "score": row[5], "category_id": int(row[6])} for row in rows.tolist()]
    assert coco_metrics(ground_truth, dicts) == coco_metrics(ground_truth, rows)


def test_scoring_prints_nothing(capfd):
    for engine in ("hotcoco", "pycocotools"):
        coco_metrics(*generated(1), engine=engine)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_the_input_is_left_as_it_was():
    ground_truth, detections = generated(2)
    before = repr(ground_truth)
    audit(ground_truth, detections)
    assert repr(ground_truth) == before


def case_of(images):
    boxes = range(1, images + 1)
    return truth([(image, 1, BOX, 0) for image in boxes], images=images), found(*[(image, 1, BOX, 0.9) for image in boxes])


def test_up_to_500_images_are_audited_whole_and_200_of_more():
    assert audit(*case_of(500)).images == 500
    assert audit(*case_of(501)).images == 200


def test_the_audits_sample_is_drawn_by_its_seed(monkeypatch):
    seen = []
    original = module._only_images
    monkeypatch.setattr(module, "_only_images", lambda truth, table, ids: seen.append(ids) or original(truth, table, ids))
    for seed in (5, 5, 6):
        audit(*case_of(501), seed=seed)
    assert seen[0] == seen[1] != seen[2]


def test_the_audit_tells_of_a_difference(monkeypatch):
    ground_truth, detections = truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 0.9))
    fast = module._ENGINES["hotcoco"]
    monkeypatch.setitem(module._ENGINES, "hotcoco", lambda *case: tuple(np.where(array > -1, array * 0.75, -1) for array in fast(*case)))
    word = audit(ground_truth, detections)
    assert word.max_abs_difference == pytest.approx(0.25)
    assert word.first.ap == pytest.approx(0.75) and word.second.ap == pytest.approx(1)
    monkeypatch.setitem(module._ENGINES, "hotcoco", lambda *case: tuple(array * 0 - 1 for array in fast(*case)))
    assert audit(ground_truth, detections).max_abs_difference == 1


def test_a_difference_that_rounding_explains_is_told_without_both_numbers(monkeypatch):
    ground_truth, detections = truth([(1, 1, BOX, 0)]), found((1, 1, BOX, 0.9))
    fast = module._ENGINES["hotcoco"]
    monkeypatch.setitem(module._ENGINES, "hotcoco", lambda *case: tuple(np.where(array > -1, array - 5e-7, -1) for array in fast(*case)))
    word = audit(ground_truth, detections)
    assert 0 < word.max_abs_difference < 1e-6 and word.first is None and word.second is None
