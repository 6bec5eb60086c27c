"""Counts at a score threshold: those of the accuracy card, at every threshold and for every image."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from detection_core.evaluation.errors import explain
from detection_core.evaluation.examples import write_examples
from detection_core.evaluation.greedy import at_least, make_case, match, overlaps_of
from detection_core.evaluation.operating_point import choose_threshold, operating_point
from tests.detection_core.evaluation.cases import found, generated, truth
from webapp.gallery.counts import AtScore, numbers_at, operating_words, score_steps, score_words, slider, usable_score
from webapp.gallery.examples import Examples, _parse


def examples_from(tmp_path, ground_truth, detections, *, score_thresh=None) -> Examples:
    path = tmp_path / "examples.json.gz"
    score_thresh = choose_threshold(ground_truth, detections) if score_thresh is None else score_thresh
    write_examples(path, ground_truth, detections, groups={}, score_thresh=score_thresh)
    return _parse(gzip.decompress(path.read_bytes()).decode())


@pytest.mark.parametrize("seed", range(40))
def test_counts_are_those_of_the_operating_point_at_every_step_of_the_slider(tmp_path, seed):
    ground_truth, detections = generated(seed)
    detections = detections[detections[:, 5] > 0]  # the file keeps what is above a floor, which is never below 0
    examples = examples_from(tmp_path, ground_truth, detections)
    steps = score_steps(examples)
    assert examples.score_thresh in steps
    for score in {*steps[:: max(1, len(steps) // 8)], examples.score_thresh}:
        card, ours = operating_point(ground_truth, detections, score_thresh=score, chosen_on="val"), numbers_at(examples, score)
        assert (ours.right, ours.false, ours.objects) == (card.true_positives, card.false_positives, card.ground_truths)
        assert (ours.precision, ours.recall, ours.f1) == (card.precision, card.recall, card.f1)
        assert ours.false_per_image == card.false_positives_per_image


@pytest.mark.parametrize("seed", range(12))
def test_images_add_up_to_the_whole_and_misses_are_those_of_tide(tmp_path, seed):
    ground_truth, detections = generated(seed)
    detections = detections[detections[:, 5] > 0]  # the file keeps what is above a floor, which is never below 0
    examples = examples_from(tmp_path, ground_truth, detections)
    for score in (examples.score_thresh, 0.35):
        at, numbers = AtScore(examples, score), numbers_at(examples, score)
        assert at.errors.sum() == numbers.false + numbers.missed
        assert at.right.sum() == numbers.right
        assert at.unexplained.sum() == _tide_misses(ground_truth, detections, score)


def _tide_misses(ground_truth, detections, score) -> int:
    """Count objects that are neither found nor what a wrong class or a loose box is about, from the detections above the score alone."""
    case = make_case(ground_truth, detections, above=at_least(score))
    overlaps = overlaps_of(case)
    matches = match(case, overlaps)
    explained = explain(case, overlaps, matches)
    touched = set(explained.truth[np.isin(explained.kind, (0, 2, 3))].tolist())
    return sum(not crowd and place not in touched for place, crowd in enumerate(case.truth_crowd.tolist()))


def test_a_detection_of_the_very_score_counts(tmp_path):
    ground_truth = truth([(1, 1, (10, 10, 40, 40), 0), (1, 1, (100, 10, 40, 40), 0)])
    detections = found((1, 1, (10, 10, 40, 40), 0.6), (1, 1, (100, 10, 40, 40), 0.4), (1, 1, (300, 300, 40, 40), 0.4))
    examples = examples_from(tmp_path, ground_truth, detections, score_thresh=0.4)
    assert (numbers_at(examples, 0.4).right, numbers_at(examples, 0.4).false) == (2, 1)
    assert (numbers_at(examples, 0.4001).right, numbers_at(examples, 0.4001).false) == (1, 0)


def test_what_a_crowd_excuses_is_neither_right_nor_wrong_and_a_crowd_is_never_missed(tmp_path):
    ground_truth = truth([(1, 1, (0, 0, 300, 300), 1), (1, 1, (400, 10, 40, 40), 0)])
    detections = found((1, 1, (50, 50, 40, 40), 0.9), (1, 1, (400, 10, 40, 40), 0.8))
    examples = examples_from(tmp_path, ground_truth, detections, score_thresh=0.5)
    assert (numbers_at(examples, 0.5).right, numbers_at(examples, 0.5).false, numbers_at(examples, 0.5).missed) == (1, 0, 0)
    assert AtScore(examples, 0.95).missed.tolist() == [False, True]


def test_no_detection_and_no_object_give_no_precision_and_no_recall(tmp_path):
    examples = examples_from(tmp_path, truth([], images=2), found())
    now = slider(examples, examples.score_thresh)["now"]
    assert (now["precision"], now["recall"], now["f1"], now["false_per_image"]) == ("–", "–", "–", "0.00")


@pytest.mark.parametrize("thresh", [0.412377, 0.3, 0.0213, 0.5])
def test_steps_rise_above_the_floor_are_few_and_read_apart(tmp_path, thresh):
    ground_truth, detections = generated(3)
    examples = examples_from(tmp_path, ground_truth, detections, score_thresh=thresh)
    steps = score_steps(examples)
    assert steps == sorted(set(steps)) and len(steps) <= 400
    assert steps[0] > examples.score_floor and steps[-1] >= examples.scores.max()
    read = slider(examples, thresh)["summary"]["words"]["score"]
    assert len(set(read)) == len(read)
    assert [usable_score(examples, words) for words in read] == steps


def test_a_score_of_the_address_is_taken_where_it_can_be_used(tmp_path):
    ground_truth, detections = generated(3)
    examples = examples_from(tmp_path, ground_truth, detections, score_thresh=0.412377)
    assert operating_words(examples) == "0.412"
    for wanted in ("", "abc", "nan", "inf", "0.412", "1e999"):
        assert usable_score(examples, wanted) == 0.412377, wanted
    assert usable_score(examples, "0,5") == 0.5
    # What reads like the operating point is the operating point, however it is typed.
    near = examples_from(tmp_path, ground_truth, detections, score_thresh=0.3004)
    assert {usable_score(near, wanted) for wanted in ("0.300", "0.3", ".3", "0,30")} == {0.3004}
    assert usable_score(examples, "7") == 1.0
    for low in ("0", "-3", "0.05", "0.050001"):
        assert usable_score(examples, low) == 0.055, low
    assert (score_words(0.41), score_words(0.4125), score_words(0.00042)) == ("0.410", "0.4125", "0.00042")


def test_the_file_is_read_however_it_is_laid_out():
    content = {
        "suspects": [],
        "version": 1,
        "classes": ['a "images":[ b'],
        "images": [],
        "score_thresh": 0.4,
        "score_floor": 0.05,
        "iou": 0.5,
    }
    box = {"box": [1, 2, 3, 4], "label": 0, "size": "small"}
    image = {
        "id": 5,
        "file": "images/ü.jpg",
        "width": None,
        "height": None,
        "group": None,
        "truth": [{**box, "crowd": False, "score": None}],
        "detections": [],
    }
    for images in ([], [image], [image, {**image, "id": 6}]):
        for spacing in ({}, {"separators": (",", ":")}, {"indent": 2}):
            examples = _parse(json.dumps({**content, "images": images}, **spacing))
            assert len(examples) == len(images)
            assert examples.classes == ('a "images":[ b',)
            assert examples.truth_starts.tolist() == list(range(len(images) + 1))
