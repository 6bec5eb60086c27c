"""From raw samples to the figures of a measurement (docs/protocol.md, "Figures"). Every percentile is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection_core.schemas.results import LatencySummary

MIN_SAMPLES_FOR_P99 = 1000
REPLICATES = 2000
LONGEST_BLOCK = 50
BLOCKS_AT_LEAST = 10
CELLS_AT_ONCE = 4_000_000  # bounds the memory of the bootstrap: replicates x samples in one chunk


def percentile(sorted_values: np.ndarray, percent: int) -> float:
    """Return the sorted sample at rank ceil(percent / 100 * n), counted from 1: always a value that was seen.

    The rank is computed in integers, because 0.55 * 100 is more than 55 in floating point.
    """
    return float(sorted_values[_rank(len(sorted_values), percent) - 1])


def _rank(count: int, percent: int) -> int:
    return max(1, -(-percent * count // 100))


def latency_summary(runs_ns: Sequence[np.ndarray], *, interval: bool = True, seed: int = 0) -> LatencySummary:
    """Summarise the samples of one or more runs, pooled; nothing is left out.

    Args:
        runs_ns: per run the samples in ns, in the order they were taken.
        interval: also give 95% intervals of p50 and p95.
        seed: of the bootstrap.
    """
    values = np.sort(np.concatenate([np.asarray(run, dtype=np.float64) for run in runs_ns])) / 1e6
    bounds = bootstrap_intervals(runs_ns, (50, 95), seed=seed) if interval else {}
    return LatencySummary(
        mean=float(values.mean()),
        p50=percentile(values, 50),
        p90=percentile(values, 90),
        p95=percentile(values, 95),
        p99=percentile(values, 99) if len(values) >= MIN_SAMPLES_FOR_P99 else None,
        min=float(values[0]),
        max=float(values[-1]),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        p50_ci=bounds.get(50),
        p95_ci=bounds.get(95),
    )


def block_length(samples: int) -> int:
    """Return how many consecutive samples form a block: 50, or fewer where that would leave fewer than 10 blocks."""
    return max(1, min(LONGEST_BLOCK, samples // BLOCKS_AT_LEAST))


def bootstrap_intervals(
    runs_ns: Sequence[np.ndarray], percents: Sequence[int], *, replicates: int = REPLICATES, seed: int = 0
) -> dict[int, tuple[float, float]]:
    """Return 95% intervals of percentiles in ms by a hierarchical block bootstrap.

    Each replicate draws runs with replacement, then inside each drawn run blocks of consecutive samples with replacement,
    because neighbouring samples are alike and runs differ. With one run only the blocks vary.

    A replicate is kept as a count per block. Its percentile is then the first of all samples, sorted once, at which the
    summed counts reach the rank; no replicate is ever sorted.
    """
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.asarray(run, dtype=np.float64) for run in runs_ns]) / 1e6
    blocks = _block_of_sample([len(run) for run in runs_ns])
    order = np.argsort(values, kind="stable")
    values, block_of_value = values[order], np.concatenate(blocks)[order]
    counts = _draw_block_counts([np.unique(block) for block in blocks], replicates, rng)
    estimates = _percentiles_of_replicates(values, block_of_value, counts, percents)
    bounds = np.quantile(estimates, (0.025, 0.975), axis=1, method="inverted_cdf")
    return {percent: (float(bounds[0, i]), float(bounds[1, i])) for i, percent in enumerate(percents)}


def _block_of_sample(lengths: Sequence[int]) -> list[np.ndarray]:
    """Number the blocks through all runs; per run the block number of each sample."""
    blocks, first = [], 0
    for length in lengths:
        numbers = first + np.arange(length) // block_length(length)
        first = int(numbers[-1]) + 1
        blocks.append(numbers)
    return blocks


def _draw_block_counts(blocks_of_run: list[np.ndarray], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Return [replicates, blocks] int32: how often each replicate drew each block."""
    runs = len(blocks_of_run)
    counts = np.zeros((replicates, int(blocks_of_run[-1][-1]) + 1), dtype=np.int32)
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=replicates)  # [replicates, runs]
    for run, blocks in enumerate(blocks_of_run):
        counts[:, blocks] = rng.multinomial(drawn[:, run] * len(blocks), np.full(len(blocks), 1 / len(blocks)))
    return counts


def _percentiles_of_replicates(values: np.ndarray, block_of_value: np.ndarray, counts: np.ndarray, percents: Sequence[int]) -> np.ndarray:
    """Return [percents, replicates]: the percentiles of each replicate of the sorted `values`."""
    estimates = np.empty((len(percents), len(counts)))
    step = max(1, CELLS_AT_ONCE // len(values))
    for start in range(0, len(counts), step):
        reached = np.cumsum(counts[start : start + step][:, block_of_value], axis=1, dtype=np.int32)
        for i, percent in enumerate(percents):
            ranks = np.maximum(1, -(-percent * reached[:, -1].astype(np.int64) // 100))
            estimates[i, start : start + step] = values[np.argmax(reached >= ranks[:, None], axis=1)]
    return estimates


def spearman(values: np.ndarray) -> float:
    """Return the rank correlation of `values` with their position, 0.0 where it is undefined (all equal, or fewer than 3)."""
    if len(values) < 3:
        return 0.0
    ranks = _average_ranks(values)
    if ranks.std() == 0:
        return 0.0
    return float(np.corrcoef(np.arange(len(values)), ranks)[0, 1])


def _average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[inverse]
