"""The clock of every timing: a function that returns nanoseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]

wall_clock: Clock = time.perf_counter_ns


def clock_step_ns(clock: Clock = wall_clock, *, tries: int = 200) -> int:
    """Return the smallest step seen between two readings that differ, in ns: what one reading may be wrong by."""
    steps = []
    for _ in range(tries):
        first = second = clock()
        while second == first:
            second = clock()
        steps.append(second - first)
    return min(steps)
