"""Suspected label errors: one case by hand for each rule and for what each rule lets pass."""

from __future__ import annotations

import pytest

from detection_core.evaluation import suspects as module
from detection_core.evaluation.errors import explain
from detection_core.evaluation.greedy import make_case, match, overlaps_of
from detection_core.evaluation.suspects import confident_score, find_suspects
from tests.detection_core.evaluation.cases import found, truth

BOX = (100, 100, 50, 50)
SHIFTED = (120, 100, 50, 50)  # IoU 3/7 with BOX
FAR = (400, 300, 50, 50)
NOWHERE = (300, 10, 40, 40)
OTHERS = [(1, 1, (10 * number, 400, 8, 8), 0) for number in range(4)]
OTHERS_FOUND = [(1, 1, (10 * number, 400, 8, 8), 0.99) for number in range(4)]


def suspected(boxes, rows, *, classes=2, score_thresh=0.4):
    case = make_case(truth(boxes, classes=classes), found(*rows), above=0.05)
    overlaps = overlaps_of(case)
    matches = match(case, overlaps)
    return find_suspects(case, overlaps, matches, explain(case, overlaps, matches), score_thresh=score_thresh)


def test_confident_is_halfway_from_the_operating_point_to_the_best_score():
    case = make_case(truth([]), found((1, 1, BOX, 0.9), (1, 1, BOX, 0.5)))
    assert confident_score(case.scores, 0.3) == pytest.approx(0.6)
    assert confident_score(case.scores[:0], 0.3) == 0.3
    assert confident_score(case.scores, 0.95) == 0.95  # nothing reaches the operating point


def test_a_confident_detection_on_bare_ground_suggests_a_missing_label():
    (suspect,) = suspected([(1, 1, BOX, 0)], [(1, 1, BOX, 0.9), (1, 2, NOWHERE, 0.8), (1, 2, FAR, 0.6)])
    assert (suspect.kind, suspect.score, suspect.truth) == ("missing_label", 0.8, None)
    assert suspect.words == "The detector sees class 2 with score 0.80 where nothing is labelled; a box may be missing."


def test_a_detection_in_a_crowd_of_its_class_suggests_nothing():
    assert suspected([(1, 1, (0, 0, 200, 200), 1)], [(1, 1, BOX, 0.9)]) == []


def test_a_confident_detection_of_another_class_over_an_object_suggests_a_wrong_class():
    (suspect,) = suspected([(1, 1, BOX, 0)], [(1, 2, BOX, 0.9), (1, 1, BOX, 0.2)])
    assert (suspect.kind, suspect.score, suspect.detection, suspect.truth) == ("wrong_class", 0.9, 0, 0)
    assert suspect.words == ("Labelled class 1, but the detector sees class 2 there with score 0.90 at IoU 1.00; the class may be wrong.")


def test_no_wrong_class_is_suggested_where_the_object_is_found_or_the_detection_is_right_or_the_boxes_differ():
    assert suspected([(1, 1, BOX, 0)], [(1, 2, BOX, 0.9), (1, 1, BOX, 0.45)]) == []
    assert [s.kind for s in suspected([(1, 1, BOX, 0), (1, 2, BOX, 0)], [(1, 2, BOX, 0.9)])] == []
    assert suspected([(1, 1, BOX, 0)], [(1, 2, (108, 100, 50, 50), 0.9)]) == []  # IoU 42/58


def test_a_confident_detection_of_the_class_that_overlaps_its_object_too_little_suggests_a_bad_box():
    (suspect,) = suspected([(1, 1, BOX, 0)], [(1, 1, SHIFTED, 0.9)])
    assert (suspect.kind, suspect.score, suspect.detection, suspect.truth) == ("bad_box", 0.9, 0, 0)
    assert suspect.words == "The detector sees this class 1 with score 0.90, but at IoU 0.43 only; the box may be badly drawn."


def test_no_bad_box_is_suggested_where_the_object_is_found_or_the_overlap_is_less():
    assert suspected([(1, 1, BOX, 0)], [(1, 1, SHIFTED, 0.9), (1, 1, BOX, 0.5)]) == []
    assert suspected([(1, 1, BOX, 0)], [(1, 1, (130, 100, 50, 50), 0.9)]) == []  # IoU 1/4


def test_an_object_of_an_easy_kind_that_nothing_overlaps_suggests_a_spurious_label():
    tiny = (300, 10, 8, 8)
    (suspect,) = suspected([*OTHERS, (1, 1, tiny, 0)], [*OTHERS_FOUND, (1, 2, tiny, 0.1)])
    assert (suspect.kind, suspect.detection, suspect.truth) == ("spurious_label", None, 4)
    assert suspect.score == pytest.approx(4 / 5 * (1 - 0.1))
    assert suspect.words == "The detector sees nothing here, though it finds 80% of small class 1 boxes; there may be no class 1."


def test_no_spurious_label_is_suggested_for_what_is_seldom_found_or_found_as_something_else():
    medium = [(1, 1, (100 * number, 10, 50, 50), 0) for number in range(3)]
    assert suspected([*OTHERS, *medium], [*OTHERS_FOUND, (1, 1, (0, 10, 50, 50), 0.9)]) == []  # of its size 1 of 3 is found
    assert suspected([*OTHERS, (1, 1, (300, 10, 8, 8), 0)], [*OTHERS_FOUND, (1, 2, (303, 10, 8, 8), 0.45)]) == []
    assert suspected([*OTHERS, (1, 1, (300, 10, 8, 8), 1)], OTHERS_FOUND) == []


def test_a_label_is_accused_once_and_a_detection_accuses_once():
    both = suspected([(1, 1, BOX, 0)], [(1, 2, BOX, 0.9), (1, 1, SHIFTED, 0.95)])
    assert [suspect.kind for suspect in both] == ["wrong_class"]
    twins = suspected([(1, 1, BOX, 0), (1, 1, BOX, 0)], [(1, 2, BOX, 0.9), (1, 2, BOX, 0.85)])
    assert sorted((suspect.truth, suspect.detection) for suspect in twins) == [(0, 0), (1, 1)]


def test_the_surest_come_first_and_no_more_than_the_limit(monkeypatch):
    rows = [(1, 1, (60 * number, 10, 40, 40), 0.7 + number / 100) for number in range(9)]
    everything = suspected([], rows)
    assert [suspect.score for suspect in everything] == sorted((row[3] for row in rows), reverse=True)[: len(everything)]
    assert len(everything) == 9
    monkeypatch.setattr(module, "MOST", 3)
    assert suspected([], rows) == everything[:3]
