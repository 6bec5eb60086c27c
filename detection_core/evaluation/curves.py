"""The output file `curves`: precision against recall, F1 against the score threshold, and the bootstrap's draws."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.evaluation.greedy import Case, Matches, matched_case
from detection_core.evaluation.operating_point import counts_by_score, f1_of, share
from detection_core.schemas.accuracy import Bootstrap

VERSION = 1
RECALL = np.linspace(0.0, 1.0, 101)  # COCO's recall points
MOST_THRESHOLDS = 200
PLACES = 6


def write_curves(
    path: Path,
    ground_truth: dict[str, Any],
    detections: np.ndarray,
    *,
    draws: Mapping[str, Sequence[float | None] | np.ndarray],
    bootstrap: Bootstrap | None,
) -> None:
    """Write the curves of an evaluation as gzipped JSON; equal input gives equal bytes.

    The file holds `classes`; `recall`, COCO's 101 points, with `precision` of each class there at IoU 0.5 (null where it has no ground
    truth); `f1`, precision, recall and F1 over all classes at 200 or fewer rising score thresholds; `draws`, the numbers of every
    bootstrap draw, with the `bootstrap_key` and the `unit` of the draws.

    Args:
        ground_truth: COCO dict.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.
        draws: values of each draw by the name of the number; None or NaN where a draw does not define it.
        bootstrap: what the draws came from; None where none were made.
    """
    case, matches = matched_case(ground_truth, detections)
    document = {
        "version": VERSION,
        "classes": list(case.classes),
        "recall": np.round(RECALL, 2).tolist(),
        "precision": precision_by_class(case, matches),
        "f1": f1_by_threshold(case, matches),
        "draws": {name: [_number(value) for value in values] for name, values in draws.items()},
        "bootstrap_key": bootstrap.key if bootstrap else None,
        "unit": bootstrap.unit if bootstrap else None,
    }
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def precision_by_class(case: Case, matches: Matches) -> dict[str, list[float | None]]:
    """Return precision at COCO's 101 recall points by class name, at IoU 0.5; None where the class has no ground truth.

    It is interpolated as COCO does: the largest precision at that recall or more, 0 where the recall is not reached. Classes that share
    a name are told apart by their place.
    """
    theres = np.bincount(case.truth_label[~case.truth_crowd], minlength=len(case.classes)).tolist()
    repeated = Counter(case.classes)
    curves: dict[str, list[float | None]] = {}
    for label, (name, there) in enumerate(zip(case.classes, theres, strict=True)):
        mine = np.flatnonzero((case.label == label) & ~matches.hidden)
        right = matches.right[mine[np.argsort(-case.scores[mine], kind="stable")]]
        curve = np.round(interpolated_precision(right, there), PLACES).tolist() if there else [None] * len(RECALL)
        curves[name if repeated[name] == 1 else f"{name} ({label + 1})"] = curve
    return curves


def interpolated_precision(right: np.ndarray, there: int) -> np.ndarray:
    """Return precision at COCO's 101 recall points, float64 [101]; its mean is AP.

    Args:
        right: whether each detection is right, in order of falling score, bool [n].
        there: how many objects there are, at least 1.
    """
    rights = np.cumsum(right)
    precision = np.maximum.accumulate((rights / (np.arange(len(rights)) + 1))[::-1])[::-1]
    return np.append(precision, 0.0)[np.searchsorted(rights / there, RECALL)]


def f1_by_threshold(case: Case, matches: Matches) -> dict[str, list[float | None]]:
    """Return precision, recall and F1 over all classes at score thresholds that occur: 200 or fewer, spread evenly over the scores.

    The lowest score is among them, and so is the threshold of the largest F1. Precision is never undefined here; recall and F1 are None
    where no object is there.
    """
    scores, rights, keeps = counts_by_score(case, matches)
    there = int(np.count_nonzero(~case.truth_crowd))
    picked = _spread(scores, rights, keeps, there)
    rows = [(int(rights[index]), int(keeps[index])) for index in picked]
    return {
        "score_thresh": scores[picked].tolist(),
        "precision": [_rounded(share(right, kept)) for right, kept in rows],
        "recall": [_rounded(share(right, there)) for right, _ in rows],
        "f1": [_rounded(f1_of(right, kept, there)) for right, kept in rows],
    }


def _spread(scores: np.ndarray, rights: np.ndarray, keeps: np.ndarray, there: int) -> np.ndarray:
    """Return places in the falling `scores`, in order of rising score."""
    if len(scores) <= MOST_THRESHOLDS:
        return np.arange(len(scores))[::-1]
    wanted = np.linspace(scores[-1], scores[0], MOST_THRESHOLDS - 1)
    near = len(scores) - 1 - np.searchsorted(scores[::-1], wanted)
    best = np.argmax(2 * rights / (keeps + there))
    return np.unique(np.append(near, best))[::-1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, PLACES)


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
