"""What a user of a detector gets at one score threshold: counts, precision, recall, and which class is taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np

from detection_core.evaluation.coco_metrics import SMALL_AREA
from detection_core.evaluation.greedy import (
    Case,
    Matches,
    at_least,
    make_case,
    match,
    matched_case,
    overlaps_of,
    refuse_scores_outside_unit,
)
from detection_core.schemas.accuracy import ClassOperation, Confusion, OperatingPoint

WITHOUT_DETECTIONS = 0.5


def choose_threshold(ground_truth: dict[str, Any], detections: np.ndarray) -> float:
    """Return the score threshold of the largest F1 over all classes together, matched at IoU 0.5.

    It is one of the scores that occur, and detections of that very score are kept. Of equal F1 the highest score is taken, for it gives
    the fewest false alarms; where there is nothing to choose from, 0.5.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.

    Raises:
        InvalidInput: scores are not 0 to 1.
    """
    case, matches = matched_case(ground_truth, detections)
    refuse_scores_outside_unit(case.scores)
    scores, right, kept = counts_by_score(case, matches)
    if not len(scores):
        return WITHOUT_DETECTIONS
    f1 = 2 * right / (kept + np.count_nonzero(~case.truth_crowd))
    return float(scores[np.argmax(f1)])


def counts_by_score(case: Case, matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores that occur, falling, and for each how many detections of at least that score are right and how many there are.

    Detections that a crowd excuses are left out.
    """
    scores, right = case.scores[~matches.hidden], matches.right[~matches.hidden]
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(right[order])
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    return scores[last], right[last], (np.arange(len(scores)) + 1)[last]


def operating_point(ground_truth: dict[str, Any], detections: np.ndarray, *, score_thresh: float, chosen_on: str) -> OperatingPoint:
    """Count what detections of at least `score_thresh` get right and wrong at IoU 0.5.

    Crowd boxes are no objects, and detections in a crowd of their class do not count. An object is small by its `area` in COCO's ground
    truth: up to 32 x 32 pixels of the original image. F1 is None where there is no object.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.
        score_thresh: 0..1, as `choose_threshold` returns it.
        chosen_on: the split that the threshold was chosen on.

    Raises:
        InvalidInput: scores are not 0 to 1.
    """
    case, matches = matched_case(ground_truth, detections, above=at_least(score_thresh))
    refuse_scores_outside_unit(case.scores)
    objects, counted = ~case.truth_crowd, ~matches.hidden
    found = matches.found(len(objects))
    small = objects & (case.truth_area <= SMALL_AREA)
    right, kept, there = int(matches.right.sum()), int(counted.sum()), int(objects.sum())
    return OperatingPoint(
        score_thresh=score_thresh,
        chosen_on=chosen_on,
        true_positives=right,
        false_positives=kept - right,
        ground_truths=there,
        precision=share(right, kept),
        recall=share(right, there),
        f1=f1_of(right, kept, there),
        false_positives_per_image=(kept - right) / max(len(case.images), 1),
        small_recall=share(int((small & found).sum()), int(small.sum())),
        small_ground_truths=int(small.sum()),
        per_class=_by_class(case, matches, objects, counted),
    )


def confusion(ground_truth: dict[str, Any], detections: np.ndarray, *, score_thresh: float) -> Confusion:
    """Count which class is taken for which among detections of at least `score_thresh`.

    Detections are matched to objects in order of score whatever the class, each to the free one it overlaps most, at IoU 0.5 or more; at
    equal overlap to one of its own class. Crowd boxes are left out, and so are unmatched detections in a crowd of their class.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.
        score_thresh: 0..1.
    """
    case = make_case(ground_truth, detections, above=at_least(score_thresh))
    matches = match(case, overlaps_of(case), any_class=True)
    background = len(case.classes)
    missed = ~case.truth_crowd & ~matches.found(len(case.truth_crowd))
    false = ~matches.right & ~matches.hidden
    rows = [case.truth_label[matches.truth[matches.right]], np.full(false.sum(), background), case.truth_label[missed]]
    columns = [case.label[matches.right], case.label[false], np.full(missed.sum(), background)]
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    np.add.at(counts, (np.concatenate(rows), np.concatenate(columns)), 1)
    return Confusion(classes=case.classes, counts=tuple(tuple(row) for row in counts.tolist()))


def share(part: int, whole: int) -> float | None:
    """Return part / whole, None of nothing."""
    return part / whole if whole else None


def f1_of(right: int, kept: int, there: int) -> float | None:
    """Return the harmonic mean of precision right / kept and recall right / there; None where no object is there."""
    return 2 * right / (kept + there) if there else None


def _by_class(case: Case, matches: Matches, objects: np.ndarray, counted: np.ndarray) -> tuple[ClassOperation, ...]:
    classes = len(case.classes)
    rights = np.bincount(case.label[matches.right], minlength=classes).tolist()
    keeps = np.bincount(case.label[counted], minlength=classes).tolist()
    theres = np.bincount(case.truth_label[objects], minlength=classes).tolist()
    return tuple(
        ClassOperation(
            name=name,
            ground_truths=there,
            detections=kept,
            true_positives=right,
            precision=share(right, kept),
            recall=share(right, there),
            f1=f1_of(right, kept, there),
        )
        for name, right, kept, there in zip(case.classes, rights, keeps, theres, strict=True)
    )
