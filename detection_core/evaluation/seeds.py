"""Several trainings of one arm: their mean, and the difference of two arms with the chance of images and of trainings in one interval.

Each training has its own evaluation, all of them on the same draws of the same images (`bootstrap`). Needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection_core.schemas.base import InvalidInput

CONFIDENCE = 0.95
# Of the integrals of Student's t; they are smooth, so that p and quantiles are right to six digits.
STEPS = 20_001
LEAST_P = 1e-6


@dataclass(frozen=True)
class SeedMean:
    """The mean of a number over trainings. `low` to `high` is the 95% interval of the images alone; `sd` the spread between trainings.

    `low` and `high` are None where fewer than half of the draws define the number, `sd` where there is one training.
    """

    mean: float
    low: float | None
    high: float | None
    sd: float | None
    seeds: int


@dataclass(frozen=True)
class SeedDifference:
    """First minus second, mean over `seeds` pairs of trainings.

    `low` to `high` is a 95% interval. With two pairs or more it holds the chance of images and of trainings, `with_training`; with one pair
    that of images alone. `p` is two-sided, at least 1e-6. `images_sd` is the spread of the difference over draws, `training_sd` that
    between pairs of trainings.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int
    images_sd: float
    training_sd: float | None

    @property
    def with_training(self) -> bool:
        """Say whether the chance in a training is in the interval."""
        return self.training_sd is not None


def mean_over_seeds(values: Sequence[float], draws: Sequence[np.ndarray]) -> SeedMean:
    """Return the mean of one number over trainings, with the interval of the mean of their draws, corrected for bias as `bootstrap` does.

    Args:
        values: the number of each training.
        draws: of each training, float64 [draws], NaN where undefined; empty where there are none.

    Raises:
        InvalidInput: trainings differ in the number of draws.
    """
    mean = float(np.mean(values))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    low = high = None
    if draws:
        together = _stacked(draws).mean(axis=0)
        defined = together[~np.isnan(together)]
        if 2 * defined.size > together.size:
            bias = float(np.mean(defined)) - mean
            low, high = np.clip(np.percentile(defined, [2.5, 97.5]) - 2 * bias, 0.0, 1.0).tolist()
    return SeedMean(mean=mean, low=low, high=high, sd=sd, seeds=len(values))


def difference_over_seeds(
    first_values: Sequence[float], first_draws: Sequence[np.ndarray], second_values: Sequence[float], second_draws: Sequence[np.ndarray]
) -> SeedDifference | None:
    """Compare two arms, training by training; both lists hold the same seeds in the same order.

    A draw of the difference is the mean over the pairs of trainings of first minus second on that draw, so that what makes an image hard
    for everybody cancels out. The squared error of the mean difference is the variance of these draws and the variance between pairs over
    their number; the interval is Student's t of it, with Welch's and Satterthwaite's degrees of freedom (Satterthwaite 1946): those of the
    few pairs where trainings differ most, nearly endless where images do.

    Returns:
        None where more than half of the draws leave the number undefined.

    Raises:
        InvalidInput: the arms have not as many trainings, or draws, as one another.
    """
    if len(first_values) != len(second_values) or not first_values:
        raise InvalidInput(f"the arms have {len(first_values)} and {len(second_values)} trainings; compare the seeds that both have")
    between = _stacked([*first_draws, *second_draws])
    drawn = (between[: len(first_draws)] - between[len(first_draws) :]).mean(axis=0)
    defined = drawn[~np.isnan(drawn)]
    if 2 * defined.size <= drawn.size:
        return None
    pairs = np.asarray(first_values, dtype=np.float64) - np.asarray(second_values, dtype=np.float64)
    difference, images = float(pairs.mean()), float(defined.var(ddof=1))
    training_sd = float(pairs.std(ddof=1)) if pairs.size > 1 else None
    training = 0.0 if training_sd is None else training_sd**2 / pairs.size
    error = math.sqrt(images + training)
    freedom = (pairs.size - 1) * ((images + training) / training) ** 2 if training > 0 else math.inf
    reach = t_quantile(CONFIDENCE, freedom) * error
    return SeedDifference(
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        p=_p(difference, error, freedom),
        seeds=pairs.size,
        images_sd=math.sqrt(images),
        training_sd=training_sd,
    )


def t_two_sided(t: float, freedom: float) -> float:
    """Return the probability that Student's t with `freedom` degrees of freedom (at least 1) lies beyond `t` on either side."""
    if math.isinf(freedom):
        return math.erfc(abs(t) / math.sqrt(2))
    angles, upto = _t_integral(freedom)
    return float(1 - np.interp(math.atan(abs(t) / math.sqrt(freedom)), angles, upto))


def t_quantile(confidence: float, freedom: float) -> float:
    """Return the t beyond which, on either side, a share of 1 - `confidence` lies; that of the normal distribution where endless."""
    if math.isinf(freedom):
        freedom = 1e9
    angles, upto = _t_integral(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp(confidence, upto, angles)))


def _t_integral(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Return angles a and P(|T| <= sqrt(freedom) tan a): with that change of variable the density is cos(a)^(freedom - 1)."""
    # Beyond 12 standard deviations nothing is left, and of many degrees of freedom all lies within small angles.
    highest = min(math.pi / 2, 12 / math.sqrt(freedom)) if freedom > 100 else math.pi / 2
    angles = np.linspace(0.0, highest, STEPS)
    density = np.cos(angles) ** (freedom - 1)
    upto = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angles, upto / upto[-1]


def _p(difference: float, error: float, freedom: float) -> float:
    if error == 0.0:
        return 1.0 if difference == 0.0 else LEAST_P
    return max(LEAST_P, t_two_sided(difference / error, freedom))


def _stacked(draws: Sequence[np.ndarray]) -> np.ndarray:
    """Return float64 [trainings, draws]."""
    counts = {len(one) for one in draws}
    if len(counts) != 1:
        raise InvalidInput(f"the evaluations have {', '.join(map(str, sorted(counts)))} draws, so they are not paired; evaluate again")
    return np.stack([np.asarray(one, dtype=np.float64) for one in draws])
