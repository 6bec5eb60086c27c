"""Percentiles and intervals against hand-made samples and against plain resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detection_core.benchmark.statistics import block_length, bootstrap_intervals, latency_summary, percentile, spearman


def ns(values_ms):
    return np.round(np.asarray(values_ms, dtype=float) * 1e6).astype(np.int64)


@pytest.mark.parametrize(("count", "percent", "rank"), [(1, 50, 1), (2, 50, 1), (3, 50, 2), (100, 95, 95), (101, 95, 96), (1000, 99, 990)])
def test_a_percentile_is_the_sorted_sample_at_the_rounded_up_rank(count, percent, rank):
    assert percentile(np.arange(1, count + 1), percent) == rank


def test_the_rank_is_exact_where_floating_point_is_not():
    assert math.ceil(0.55 * 100) == 56  # the trap
    assert percentile(np.arange(1, 101), 55) == 55


def test_a_known_distribution_gives_its_known_figures():
    summary = latency_summary([ns(np.random.default_rng(0).permutation(np.arange(1, 1001)))])
    assert (summary.min, summary.p50, summary.p90, summary.p95, summary.p99, summary.max) == (1, 500, 900, 950, 990, 1000)
    assert summary.mean == pytest.approx(500.5)
    assert summary.sd == pytest.approx(np.arange(1, 1001).std(ddof=1))


def test_a_second_mode_in_the_tail_is_seen_and_not_cut_off():
    summary = latency_summary([ns([10.0] * 940 + [80.0] * 60)])
    assert (summary.p50, summary.p90, summary.p95, summary.max) == (10, 10, 80, 80)
    assert summary.mean == pytest.approx(14.2)


def test_p99_is_told_only_from_1000_samples():
    assert latency_summary([ns(np.arange(1, 1000))]).p99 is None
    assert latency_summary([ns(np.arange(1, 1001))]).p99 == 990


def test_samples_of_several_runs_are_pooled():
    assert latency_summary([ns([1, 2]), ns([3, 4, 5])]).p50 == 3


def test_one_sample_alone_has_a_summary():
    summary = latency_summary([ns([5])])
    assert (summary.p50, summary.sd, summary.p50_ci) == (5, 0, (5, 5))


def test_blocks_hold_50_samples_or_a_tenth_of_a_short_run():
    assert [block_length(count) for count in (5, 100, 300, 500, 10_000)] == [1, 10, 30, 50, 50]


def test_equal_samples_have_an_interval_of_no_width():
    assert bootstrap_intervals([ns([7] * 300)], (50, 95)) == {50: (7, 7), 95: (7, 7)}


def test_the_interval_is_the_same_for_the_same_seed():
    run = ns(np.random.default_rng(1).lognormal(3, 0.2, 400))
    assert bootstrap_intervals([run], (50,), seed=4) == bootstrap_intervals([run], (50,), seed=4)


def test_the_interval_agrees_with_resampling_done_step_by_step():
    rng = np.random.default_rng(2)
    runs = [ns(rng.lognormal(3 + shift, 0.2, 400)) for shift in (0, 0.05, 0.1)]
    estimates = []
    for _ in range(2000):
        pool = []
        for run in rng.integers(0, 3, 3):
            blocks = runs[run].reshape(-1, block_length(400))
            pool.append(blocks[rng.integers(0, len(blocks), len(blocks))].ravel())
        estimates.append(percentile(np.sort(np.concatenate(pool)), 95) / 1e6)
    low, high = bootstrap_intervals(runs, (95,))[95]
    assert low == pytest.approx(np.quantile(estimates, 0.025), rel=0.01)
    assert high == pytest.approx(np.quantile(estimates, 0.975), rel=0.01)


def test_runs_that_differ_widen_the_interval_beyond_what_one_run_shows():
    rng = np.random.default_rng(3)
    alike = [ns(rng.normal(20, 0.5, 300)) for _ in range(5)]
    apart = [ns(rng.normal(20 + run, 0.5, 300)) for run in range(5)]
    width = [high - low for low, high in (bootstrap_intervals(runs, (50,))[50] for runs in (alike, apart))]
    assert width[1] > 5 * width[0]


def test_samples_that_follow_their_neighbours_widen_the_interval():
    rng = np.random.default_rng(4)
    slow_wave = 20 + 2 * np.sin(np.arange(1000) / 60) + rng.normal(0, 0.1, 1000)
    shuffled = rng.permutation(slow_wave)
    wave, noise = (np.ptp(bootstrap_intervals([ns(run)], (50,))[50]) for run in (slow_wave, shuffled))
    assert wave > 2 * noise


def test_the_interval_of_the_median_covers_the_true_one_about_95_times_in_100():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(100):
        low, high = bootstrap_intervals([ns(rng.lognormal(3, 0.3, 1000))], (50,), replicates=300)[50]
        hits += low <= math.exp(3) <= high
    assert 85 <= hits <= 99


def test_rank_correlation_by_hand():
    assert spearman(np.array([1, 2, 3, 4])) == pytest.approx(1)
    assert spearman(np.array([4, 3, 2, 1])) == pytest.approx(-1)
    assert spearman(np.array([5, 5, 5])) == 0
    assert spearman(np.array([1, 3, 2])) == pytest.approx(0.5)
    assert spearman(np.array([1, 1, 2, 3])) == pytest.approx(4.5 / math.sqrt(5 * 4.5))  # ranks 0.5, 0.5, 2, 3
