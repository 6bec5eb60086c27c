"""Means and differences over trainings: against tables, by hand, and how often the interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detection_core.evaluation.seeds import difference_over_seeds, mean_over_seeds, t_quantile, t_two_sided
from detection_core.schemas.base import InvalidInput


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (30, 2.0423), (1e4, 1.9602), (math.inf, 1.95996)]
)
def test_quantiles_are_those_of_the_tables(freedom, t):
    assert t_quantile(0.95, freedom) == pytest.approx(t, rel=2e-5)
    assert t_two_sided(t, freedom) == pytest.approx(0.05, abs=1e-5)


def test_one_degree_of_freedom_is_the_cauchy_distribution():
    assert t_two_sided(1.0, 1) == pytest.approx(0.5, abs=1e-8)
    assert t_two_sided(-1.0, 1) == pytest.approx(0.5, abs=1e-8)


def draws(*centres: float, seed: int = 0, spread: float = 0.01, count: int = 500) -> list[np.ndarray]:
    """Draws that share the luck of the images."""
    shared = np.random.default_rng(seed).normal(0, spread, count)
    return [centre + shared for centre in centres]


def test_the_mean_has_the_spread_between_trainings_and_the_interval_of_the_images():
    found = mean_over_seeds([0.40, 0.42, 0.44], draws(0.40, 0.42, 0.44))
    assert (found.mean, found.sd, found.seeds) == (pytest.approx(0.42), pytest.approx(0.02), 3)
    assert found.low == pytest.approx(0.42 - 1.96 * 0.01, abs=0.003)
    assert found.high == pytest.approx(0.42 + 1.96 * 0.01, abs=0.003)


def test_one_training_has_no_spread_and_no_draws_no_interval():
    alone = mean_over_seeds([0.4], [])
    assert (alone.mean, alone.sd, alone.low, alone.high) == (0.4, None, None, None)


def test_a_draw_that_one_training_leaves_undefined_is_left_out():
    broken = draws(0.4)[0].copy()
    broken[:300] = np.nan
    assert mean_over_seeds([0.4], [broken]).low is None
    assert difference_over_seeds([0.4], [broken], [0.3], draws(0.3)) is None


def test_what_is_common_to_all_draws_cancels_out_of_the_difference():
    found = difference_over_seeds([0.42, 0.44], draws(0.42, 0.44), [0.40, 0.42], draws(0.40, 0.42))
    assert found is not None
    assert found.difference == pytest.approx(0.02)
    assert found.images_sd == pytest.approx(0.0, abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(0.02), pytest.approx(0.02))


def test_trainings_that_disagree_widen_the_interval_by_students_t():
    found = difference_over_seeds([0.42, 0.44, 0.40], draws(0.42, 0.44, 0.40), [0.40, 0.40, 0.40], draws(0.40, 0.40, 0.40))
    assert found is not None
    # Images add nothing here, so these are the mean and error of 0.02, 0.04, 0.00 with two degrees of freedom.
    reach = 4.3027 * 0.02 / math.sqrt(3)
    assert (found.low, found.high) == (pytest.approx(0.02 - reach, rel=1e-3), pytest.approx(0.02 + reach, rel=1e-3))
    assert found.p == pytest.approx(0.2254, abs=1e-3)


def test_one_pair_has_the_chance_of_images_alone():
    own = np.random.default_rng(1).normal(0, 0.01, 4000)
    found = difference_over_seeds([0.42], [0.42 + own], [0.40], [np.full(4000, 0.40)])
    assert found is not None
    assert not found.with_training
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.01, rel=0.05)


def test_arms_of_other_seeds_or_draws_are_refused():
    with pytest.raises(InvalidInput, match="2 and 1 trainings; compare the seeds that both have"):
        difference_over_seeds([0.4, 0.4], draws(0.4, 0.4), [0.4], draws(0.4))
    with pytest.raises(InvalidInput, match="400, 500 draws"):
        difference_over_seeds([0.4], draws(0.4), [0.4], draws(0.4, count=400))


def test_the_interval_holds_the_truth_about_nineteen_times_in_twenty():
    """Two arms that are equal in truth: images shift all evaluations of an arm alike, trainings each by itself."""
    random, held, tries = np.random.default_rng(5), 0, 400
    for _ in range(tries):
        pairs = random.normal(0, 0.01) + random.normal(0, 0.015, 3)
        images = random.normal(0, 0.01, 300)
        shown = [0.4 + pair + images for pair in pairs]
        found = difference_over_seeds((0.4 + pairs).tolist(), shown, [0.4] * 3, [np.full(300, 0.4)] * 3)
        assert found is not None
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / tries <= 0.99
