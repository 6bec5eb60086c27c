"""The Pareto front of many points."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from benchmarks.row import Arm, Mark, Options, Row
from detection_core.frontier import pareto_front

POINTS = 100_000


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open one arm: latencies and APs that rise together, with noise, so that the front has many points."""
    rng = np.random.default_rng(0)
    latency = rng.lognormal(3, 1, POINTS)
    ap = np.clip(0.1 * np.log(latency) + rng.normal(0, 0.05, POINTS), 0, 1)
    points = list(zip(latency.tolist(), ap.tolist(), strict=True))

    def milliseconds() -> float:
        began = time.perf_counter()
        pareto_front(points)
        return (time.perf_counter() - began) * 1000

    yield {"pareto_front": milliseconds}


ROW = Row(name="front", what=f"Pareto front of {POINTS:,} points", unit="ms", mark=Mark("median", 100), arms=arms)
