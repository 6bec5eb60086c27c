"""What goes wrong and how far scores can be trusted: TIDE's kinds of error and what mending each would give, and calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detection_core.evaluation.curves import interpolated_precision
from detection_core.evaluation.greedy import (
    BACKGROUND_IOU,
    FOREGROUND_IOU,
    Case,
    Matches,
    Overlaps,
    make_case,
    match,
    matched_case,
    overlaps_of,
    refuse_scores_outside_unit,
)
from detection_core.evaluation.operating_point import share
from detection_core.schemas.accuracy import Calibration, CalibrationBin, ErrorShares

SCORE_FLOOR = 0.05
BINS = 10
# What becomes of a detection; the five from CLS on are TIDE's kinds of false positive, under the names that TIDE gives them.
TP, IGNORED, CLS, LOC, BOTH, DUPE, BKG = range(7)
KINDS = ("tp", "ignored", "cls", "loc", "both", "dupe", "bkg")
FALSE_KINDS = {"Cls": CLS, "Loc": LOC, "Both": BOTH, "Dupe": DUPE, "Bkg": BKG}


@dataclass(frozen=True)
class Explained:
    """For each detection of a case its kind, a place in KINDS, and the ground truth that the kind is about, -1 for none.

    That is what a right detection finds; what a Cls or Loc error would find if it were mended; what a Dupe finds a second time; what
    one of Both kinds overlaps most; the crowd that excuses an ignored one.
    """

    kind: np.ndarray  # int64 [m]
    truth: np.ndarray  # int64 [m]


def explain(case: Case, overlaps: Overlaps, matches: Matches) -> Explained:
    """Say for every detection what became of it, by TIDE's rules in TIDE's order.

    Loc: its best IoU with an object of its class is 0.1 to 0.5. Else Cls: with one of another class 0.5 or more. Else Dupe: with one of
    its class above 0.5, which a better detection has taken. Else Bkg: no IoU above 0.1. Else Both.
    """
    own = case.label[overlaps.detection] == case.truth_label[overlaps.truth]
    crowd = case.truth_crowd[overlaps.truth]
    same, same_truth = _best(overlaps, own & ~crowd, len(case.scores))
    other, other_truth = _best(overlaps, ~own & ~crowd, len(case.scores))
    _, crowd_truth = _best(overlaps, own & crowd, len(case.scores))
    rules = [
        (matches.right, TP, matches.truth),
        (matches.hidden, IGNORED, crowd_truth),
        ((same >= BACKGROUND_IOU) & (same <= FOREGROUND_IOU), LOC, same_truth),
        (other >= FOREGROUND_IOU, CLS, other_truth),
        (same > FOREGROUND_IOU, DUPE, same_truth),
        (other <= BACKGROUND_IOU, BKG, np.full(len(other), -1)),
    ]
    conditions = [condition for condition, _, _ in rules]
    kind = np.select(conditions, [code for _, code, _ in rules], default=BOTH)
    return Explained(kind, np.select(conditions, [truth for _, _, truth in rules], default=other_truth))


def error_shares(ground_truth: dict[str, Any], detections: np.ndarray) -> ErrorShares:
    """Count TIDE's kinds of error, and say how much AP50 would grow if all of one kind were mended.

    A Cls or Loc error is mended into a right detection where it is the best scored of those about one object that nothing finds;
    otherwise it is taken away, as other false positives are. A Miss is an object that nothing finds and no Cls or Loc error is about; it
    is mended by taking the object away. FP takes all false positives away, FN all objects that are not found. Gains are tidecv's, but of
    COCO's AP50, which leaves out classes without ground truth, and not cut off at 0.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.
    """
    case = make_case(ground_truth, detections)
    overlaps = overlaps_of(case)
    matches = match(case, overlaps)
    explained = explain(case, overlaps, matches)
    lost = ~case.truth_crowd & ~matches.found(len(case.truth_crowd))
    wins = _wins(explained, lost)
    missed = lost.copy()
    missed[explained.truth[wins]] = False
    ranked = _Ranked(case.label, case.scores, matches.right, ~matches.hidden, _by_class(case, ~case.truth_crowd))
    variants = {
        **{name: _mended(ranked, case, explained, explained.kind == kind, wins) for name, kind in FALSE_KINDS.items()},
        "Miss": replace(ranked, objects=ranked.objects - _by_class(case, missed)),
        "FP": replace(ranked, kept=matches.right),
        "FN": replace(ranked, objects=ranked.objects - _by_class(case, lost)),
    }
    classes = np.flatnonzero(ranked.objects)
    ap50 = _mean_ap(ranked, classes)
    counts = {name: int(np.count_nonzero(explained.kind == kind)) for name, kind in FALSE_KINDS.items()}
    return ErrorShares(
        ap50=ap50 if len(classes) else None,
        gain={name: _mean_ap(variant, classes) - ap50 for name, variant in variants.items()},
        counts={**counts, "Miss": int(missed.sum())},
        foreground_iou=FOREGROUND_IOU,
        background_iou=BACKGROUND_IOU,
    )


def calibration(ground_truth: dict[str, Any], detections: np.ndarray, *, score_floor: float = SCORE_FLOOR, bins: int = BINS) -> Calibration:
    """Compare scores with precision at IoU 0.5: D-ECE over `bins` score bins of equal width in 0..1.

    Detections with a score of `score_floor` or less are left out: there are so many of them that they would decide the number. So are
    those that a crowd excuses.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.

    Raises:
        InvalidInput: scores are not 0 to 1.
    """
    case, matches = matched_case(ground_truth, detections, above=score_floor)
    refuse_scores_outside_unit(case.scores)
    scores, right = case.scores[~matches.hidden], matches.right[~matches.hidden]
    edges = np.arange(bins + 1) / bins
    place = np.minimum(np.searchsorted(edges, scores, side="right") - 1, bins - 1)
    counts = np.bincount(place, minlength=bins).tolist()
    score_sums = np.bincount(place, weights=scores, minlength=bins).tolist()
    right_sums = np.bincount(place, weights=right, minlength=bins).tolist()
    gaps = sum(abs(total - rights) for total, rights in zip(score_sums, right_sums, strict=True))
    rows = zip(edges[:-1].tolist(), edges[1:].tolist(), counts, score_sums, right_sums, strict=True)
    return Calibration(
        score_floor=score_floor,
        detections=len(scores),
        ece=gaps / len(scores) if len(scores) else None,
        bins=tuple(_bin(*row) for row in rows),
    )


def _best(overlaps: Overlaps, kept: np.ndarray, detections: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each detection the largest overlap among the pairs that are `kept`, 0 where there is none, and with which truth."""
    pairs = np.flatnonzero(kept)
    order = pairs[np.lexsort((-overlaps.truth[pairs], overlaps.iou[pairs], overlaps.detection[pairs]))]  # the first truth at equal IoU
    last = order[np.append(overlaps.detection[order[1:]] != overlaps.detection[order[:-1]], True)] if len(order) else order
    iou, truth = np.zeros(detections), np.full(detections, -1)
    iou[overlaps.detection[last]] = overlaps.iou[last]
    truth[overlaps.detection[last]] = overlaps.truth[last]
    return iou, truth


@dataclass(frozen=True)
class _Ranked:
    """What AP50 follows from: detections with their class, score, whether they are right and count at all; objects by class."""

    label: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    kept: np.ndarray
    objects: np.ndarray


def _wins(explained: Explained, lost: np.ndarray) -> np.ndarray:
    """Return whether a detection is the best scored Cls or Loc error about an object that nothing finds, bool [m]."""
    mendable = np.flatnonzero(np.isin(explained.kind, (CLS, LOC)))
    mendable = mendable[lost[explained.truth[mendable]]]
    # Detections of an image are in order of score, so that the first about an object is the best.
    _, first = np.unique(explained.truth[mendable], return_index=True)
    wins = np.zeros(len(explained.kind), dtype=bool)
    wins[mendable[first]] = True
    return wins


def _mended(ranked: _Ranked, case: Case, explained: Explained, errors: np.ndarray, wins: np.ndarray) -> _Ranked:
    won = np.flatnonzero(errors & wins)
    label, right = ranked.label.copy(), ranked.right.copy()
    label[won], right[won] = case.truth_label[explained.truth[won]], True
    return replace(ranked, label=label, right=right, kept=ranked.kept & ~(errors & ~wins))


def _mean_ap(ranked: _Ranked, classes: np.ndarray) -> float:
    """Return AP at one IoU, averaged over `classes`; one that has neither objects nor detections left is left out."""
    kept = np.flatnonzero(ranked.kept)
    order = kept[np.lexsort((-ranked.scores[kept], ranked.label[kept]))]
    bounds = np.searchsorted(ranked.label[order], np.arange(len(ranked.objects) + 1)).tolist()
    values = []
    for label in classes.tolist():
        right, objects = ranked.right[order[bounds[label] : bounds[label + 1]]], int(ranked.objects[label])
        if objects:
            values.append(float(interpolated_precision(right, objects).mean()))
        elif len(right):
            values.append(0.0)
    return min(float(np.mean(values)), 1.0) if values else 0.0


def _by_class(case: Case, truths: np.ndarray) -> np.ndarray:
    return np.bincount(case.truth_label[truths], minlength=len(case.classes))


def _bin(low: float, high: float, count: int, score_sum: float, right_sum: float) -> CalibrationBin:
    # A mean of equal scores may leave 0..1 by rounding.
    mean = min(score_sum / count, 1.0) if count else None
    return CalibrationBin(low=low, high=high, count=count, mean_score=mean, precision=share(int(right_sum), count))
