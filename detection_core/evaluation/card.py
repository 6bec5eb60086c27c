"""The accuracy card: all that an evaluation says beside the 12 numbers, from detections and ground truth alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detection_core.evaluation.bootstrap import DRAWS, bootstrap
from detection_core.evaluation.coco_metrics import detection_table
from detection_core.evaluation.errors import calibration, error_shares
from detection_core.evaluation.greedy import make_case
from detection_core.evaluation.matching import match
from detection_core.evaluation.operating_point import choose_threshold, confusion, operating_point
from detection_core.schemas.accuracy import AccuracyCard


def accuracy_card(
    ground_truth: dict[str, Any],
    detections: np.ndarray | list[dict[str, Any]],
    *,
    groups: Mapping[int, str | None] | None,
    operating: tuple[dict[str, Any], np.ndarray] | None,
    chosen_on: str,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[AccuracyCard, dict[str, np.ndarray]]:
    """Return the card and the bootstrap draws behind its intervals.

    Args:
        ground_truth: COCO dict of the evaluated split.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id; or COCO result dicts.
        groups: group by image id (place, flight, clip), where images have one.
        operating: ground truth and detections that the score threshold is chosen on; None: the evaluated split itself.
        chosen_on: the name of that split.
        seed: of the draws.
        draws: how many.

    Returns:
        The card, without operating point, confusion and calibration where scores are not 0 to 1, which these need; and by number
        float64 [draws], NaN where a draw does not define it.
    """
    table = detection_table(detections)
    intervals, drawn = bootstrap(match(ground_truth, table), groups=groups, seed=seed, draws=draws)
    card = AccuracyCard(bootstrap=intervals, errors=error_shares(ground_truth, table))
    if not all(scores_are_unit(*case) for case in ((ground_truth, table), operating) if case):
        return card, drawn
    score_thresh = choose_threshold(*(operating or (ground_truth, table)))
    at_threshold = {
        "operating_point": operating_point(ground_truth, table, score_thresh=score_thresh, chosen_on=chosen_on),
        "confusion": confusion(ground_truth, table, score_thresh=score_thresh),
        "calibration": calibration(ground_truth, table),
    }
    return card.model_copy(update=at_threshold), drawn


def scores_are_unit(ground_truth: dict[str, Any], table: np.ndarray) -> bool:
    """Say whether the scores of detections [n, 7] that count all lie in 0..1, as those of a file from elsewhere need not."""
    scores = make_case(ground_truth, table).scores
    return bool(((scores >= 0) & (scores <= 1)).all())
