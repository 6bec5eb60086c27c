"""Labels that a detector contradicts: boxes that may be missing, of the wrong class, badly drawn or not there at all. Suspects, no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detection_core.evaluation.coco_metrics import LARGE_AREA, SMALL_AREA
from detection_core.evaluation.errors import BKG, LOC, Explained
from detection_core.evaluation.greedy import FOREGROUND_IOU, Case, Matches, Overlaps

SuspectKind = Literal["missing_label", "wrong_class", "bad_box", "spurious_label"]

MOST = 200
# A detection is confident halfway between the operating point and the best score that occurs, wherever the scores of a detector lie.
CONFIDENT = 0.5
WRONG_CLASS_IOU = 0.75
BAD_BOX_IOU = (0.3, FOREGROUND_IOU)
# A label is spurious at the earliest where the detector finds most objects of that class and size.
SPURIOUS_RECALL = 0.5
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Suspect:
    """One label to look at. `detection` and `truth` are places in the case, None where there is none; the higher `score`, the surer."""

    kind: SuspectKind
    image: int
    detection: int | None
    truth: int | None
    score: float
    words: str


def find_suspects(case: Case, overlaps: Overlaps, matches: Matches, explained: Explained, *, score_thresh: float) -> list[Suspect]:
    """Return the labels most likely to be wrong, the surest first, 200 at most.

    - missing_label: a confident detection that nothing labelled overlaps by IoU above 0.1.
    - wrong_class: an object not found at the operating point, that a confident detection of another class, which is not right elsewhere,
      overlaps by IoU 0.75 or more.
    - bad_box: an object not found at the operating point, whose best confident detection of its class overlaps it by IoU 0.3 to 0.5 only.
    - spurious_label: an object that no detection of whatever class overlaps by IoU 0.1 or more at the operating point, though the
      detector finds half or more of the objects of that class and size. Its score is that recall times 1 minus the best score there.

    A label is listed once, under the first of these kinds that holds; a detection accuses one label at most.

    Args:
        case: detections above the floor.
        score_thresh: the operating point.
    """
    found = matches.right & (case.scores >= score_thresh)
    unexplained = ~case.truth_crowd
    unexplained[matches.truth[found]] = False
    confident = case.scores >= confident_score(case.scores, score_thresh)
    suspects = list(_missing(case, confident & (explained.kind == BKG)))
    wrong = list(_wrong_class(case, overlaps, confident & ~matches.right & ~matches.hidden, unexplained))
    _explain(unexplained, wrong)
    bad = list(_bad_box(case, overlaps, confident & (explained.kind == LOC), unexplained))
    _explain(unexplained, bad)
    suspects += wrong + bad + list(_spurious(case, overlaps, found, matches, unexplained, score_thresh))
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.image, suspect.kind))[:MOST]


def confident_score(scores: np.ndarray, score_thresh: float) -> float:
    """Return the score from which a detection is confident enough to accuse a label."""
    best = float(scores.max(initial=score_thresh))
    return score_thresh + CONFIDENT * (best - score_thresh)


def sizes_of(area: np.ndarray) -> np.ndarray:
    """Return the place in SIZES by area in square pixels: up to 32 x 32, up to 96 x 96, above."""
    return (area > SMALL_AREA).astype(np.int64) + (area > LARGE_AREA)


def _explain(unexplained: np.ndarray, suspects: list[Suspect]) -> None:
    """An object that is listed once is not listed again."""
    for suspect in suspects:
        unexplained[suspect.truth] = False


def _missing(case: Case, accusing: np.ndarray) -> Iterator[Suspect]:
    for detection in np.flatnonzero(accusing).tolist():
        name, score = case.classes[case.label[detection]], float(case.scores[detection])
        words = f"The detector sees {name} with score {score:.2f} where nothing is labelled; a box may be missing."
        yield Suspect("missing_label", int(case.image[detection]), detection, None, score, words)


def _wrong_class(case: Case, overlaps: Overlaps, accusing: np.ndarray, unexplained: np.ndarray) -> Iterator[Suspect]:
    other = case.label[overlaps.detection] != case.truth_label[overlaps.truth]
    kept = other & accusing[overlaps.detection] & unexplained[overlaps.truth] & (overlaps.iou >= WRONG_CLASS_IOU)
    for detection, truth, iou in _one_to_one(case, overlaps, kept):
        seen, labelled = case.classes[case.label[detection]], case.classes[case.truth_label[truth]]
        score = float(case.scores[detection])
        words = f"Labelled {labelled}, but the detector sees {seen} there with score {score:.2f} at IoU {iou:.2f}; the class may be wrong."
        yield Suspect("wrong_class", int(case.image[detection]), detection, truth, score, words)


def _bad_box(case: Case, overlaps: Overlaps, accusing: np.ndarray, unexplained: np.ndarray) -> Iterator[Suspect]:
    low, high = BAD_BOX_IOU
    own = case.label[overlaps.detection] == case.truth_label[overlaps.truth]
    kept = own & accusing[overlaps.detection] & unexplained[overlaps.truth] & (overlaps.iou >= low) & (overlaps.iou < high)
    for detection, truth, iou in _one_to_one(case, overlaps, kept):
        name, score = case.classes[case.truth_label[truth]], float(case.scores[detection])
        words = f"The detector sees this {name} with score {score:.2f}, but at IoU {iou:.2f} only; the box may be badly drawn."
        yield Suspect("bad_box", int(case.image[detection]), detection, truth, score, words)


def _spurious(
    case: Case, overlaps: Overlaps, found: np.ndarray, matches: Matches, unexplained: np.ndarray, score_thresh: float
) -> Iterator[Suspect]:
    best = np.zeros(len(case.truth_crowd))
    np.maximum.at(best, overlaps.truth, case.scores[overlaps.detection])
    group = case.truth_label * len(SIZES) + sizes_of(case.truth_area)
    objects = np.bincount(group[~case.truth_crowd], minlength=len(case.classes) * len(SIZES))
    hits = np.bincount(group[matches.truth[found]], minlength=len(objects))
    recall = (hits / np.maximum(objects, 1))[group]
    for truth in np.flatnonzero(unexplained & (best < score_thresh) & (recall >= SPURIOUS_RECALL)).tolist():
        name, size = case.classes[case.truth_label[truth]], SIZES[sizes_of(case.truth_area[truth])]
        words = f"The detector sees nothing here, though it finds {recall[truth]:.0%} of {size} {name} boxes; there may be no {name}."
        score = float(recall[truth] * max(1 - best[truth], 0.0))
        yield Suspect("spurious_label", int(case.truth_image[truth]), None, truth, score, words)


def _one_to_one(case: Case, overlaps: Overlaps, kept: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield detection, truth and IoU of the pairs that are `kept`, the best score first, each detection and each truth once."""
    pairs = np.flatnonzero(kept)
    order = pairs[np.lexsort((overlaps.truth[pairs], -overlaps.iou[pairs], -case.scores[overlaps.detection[pairs]]))]
    seen: set[int] = set()
    blamed: set[int] = set()
    columns = (overlaps.detection[order].tolist(), overlaps.truth[order].tolist(), overlaps.iou[order].tolist())
    for detection, truth, iou in zip(*columns, strict=True):
        if detection not in seen and truth not in blamed:
            seen.add(detection)
            blamed.add(truth)
            yield detection, truth, iou
