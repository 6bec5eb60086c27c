"""Two results on the same draws: the difference, its interval, and whether one may be said to beat the other.

The draws are those of `bootstrap`: where two results of one split carry the same key, draw b took the same images for both, so that what
makes an image hard for everybody cancels out of the difference. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detection_core.schemas.base import InvalidInput

SIGNIFICANCE = 0.05
LOW, HIGH = 2.5, 97.5

# The values of one number in every draw, in order; None or NaN where a draw leaves it undefined.
Draws = Sequence[float | None] | np.ndarray


@dataclass(frozen=True)
class PairedDifference:
    """First minus second: `difference` of the numbers themselves, `low` to `high` its 95% percentile interval over the draws.

    `p` is two-sided, 2 min(P(D <= 0), P(D >= 0)), at least 1 / `draws`. Where several pairs are looked at, only p corrected by `holm` for
    all of them decides.
    """

    difference: float
    low: float
    high: float
    p: float
    draws: int


def paired_difference(first: Draws, second: Draws, first_value: float, second_value: float) -> PairedDifference | None:
    """Compare one number of two results whose draws have the same key.

    Returns:
        None where the number is undefined for either in more than half of the draws.

    Raises:
        InvalidInput: there are not as many draws of the one as of the other.
    """
    one, other = (np.asarray(draws, dtype=np.float64) for draws in (first, second))
    if one.shape != other.shape:
        raise InvalidInput(f"one result has {one.size} draws and the other {other.size}, so they are not paired; evaluate both again")
    differences = one - other
    defined = differences[~np.isnan(differences)]
    if 2 * defined.size <= differences.size:
        return None
    low, high = np.percentile(defined, [LOW, HIGH]).tolist()
    return PairedDifference(difference=first_value - second_value, low=low, high=high, p=two_sided_p(defined), draws=defined.size)


def two_sided_p(differences: np.ndarray) -> float:
    """Return 2 min(P(D <= 0), P(D >= 0)) of bootstrap differences [B]; at least 1 / B, at most 1."""
    at_most, at_least = float(np.mean(differences <= 0)), float(np.mean(differences >= 0))
    return min(1.0, max(2 * min(at_most, at_least), 1 / differences.size))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's method, in the order given."""
    corrected = [0.0] * len(p_values)
    least = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = least
    return corrected


def winner(found: PairedDifference, p_holm: float) -> Literal["first", "second"] | None:
    """Return which of the two beats the other, None where no difference is shown.

    One does where the corrected p is under 0.05 and the difference of the numbers and the whole interval lie on its side of 0.
    """
    if p_holm >= SIGNIFICANCE:
        return None
    if found.difference > 0 and found.low > 0:
        return "first"
    return "second" if found.difference < 0 and found.high < 0 else None
