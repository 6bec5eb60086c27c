"""What may be compared with what: doubts about an accuracy, and the draws that two evaluations must share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from webapp.artifacts.models import Artifact
from webapp.results.accuracy import curves_of
from webapp.results.models import Evaluation
from webapp.results.selectors import EVALUATORS_DISAGREE, THRESHOLDED

LARGEST_AUDIT_DIFFERENCE = 1e-6
AP_SCORE_THRESH = 0.001
# Flags of results that beat nothing, and why.
UNFIT = {
    EVALUATORS_DISAGREE: "the two evaluators count one of them differently: see its page",
    THRESHOLDED: "one of them is a lower bound of AP: evaluate it at score threshold 0.001",
}
# Draws of this many evaluations, five numbers of a thousand values each, take about 20 MB.
KEPT_DRAWS = 512


def accuracy_flags(evaluation: Evaluation) -> list[str]:
    """Return the flags of a result that its evaluation alone gives."""
    flags = []
    if evaluation.result["audit"]["max_abs_difference"] > LARGEST_AUDIT_DIFFERENCE:
        flags.append(EVALUATORS_DISAGREE)
    if evaluation.protocol.get("score_thresh", 0.0) > AP_SCORE_THRESH:
        flags.append(THRESHOLDED)
    return flags


def bootstrap_of(evaluation: Evaluation | None) -> dict[str, Any]:
    """Return the stored fields of schemas.accuracy.Bootstrap, {} where an evaluation has none."""
    card = (evaluation.result.get("accuracy") if evaluation else None) or {}
    return card.get("bootstrap") or {}


def draws_obstacle(first: Mapping[str, Any], second: Mapping[str, Any], *, drawn: bool) -> str:
    """Say why two evaluations of the same images cannot be compared draw by draw; "" where they can.

    Args:
        first, second: as `bootstrap_of` gives them.
        drawn: both have stored draws.
    """
    if not (first and second and drawn):
        return "no draws are stored: evaluate again"
    if first["key"] != second["key"]:
        return "drawn differently: evaluate both again"
    if first.get("groups_ignored"):
        return "too few groups to tell a difference from chance: bring images of more places, flights or clips"
    return ""


def draws_of(curves: Artifact | None) -> Mapping[str, np.ndarray]:
    """Return the draws of an evaluation by number, float64 [draws] with NaN where undefined; {} where none are stored or readable."""
    try:
        return _read_draws(curves.pk, curves.storage_key) if curves else {}
    except LookupError:
        return {}


@lru_cache(maxsize=KEPT_DRAWS)
def _read_draws(sha256: str, storage_key: str) -> Mapping[str, np.ndarray]:
    """Bytes never change under their hash, so what was read is kept; a failure is raised, so that it is not."""
    drawn = curves_of(Artifact(sha256=sha256, storage_key=storage_key)).get("draws")
    if not drawn:
        raise LookupError(sha256)
    return {name: np.array([np.nan if one is None else one for one in values], dtype=np.float64) for name, values in drawn.items()}
