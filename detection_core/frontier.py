"""The speed-accuracy front: which points no other point beats. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detection_core.schemas.base import InvalidInput


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell for each point whether it is on the front of low latency and high AP.

    A point is on the front when no other one is at least as good in both figures and better in one. Equal points share
    their fate. Takes O(n log n).

    Args:
        points: pairs (latency in ms, AP); any finite numbers.

    Returns:
        One bool a point, in the order given.

    Raises:
        InvalidInput: a figure is missing, not a number or infinite; the message names the point.
    """
    best_ap: dict[float, float] = {}
    for latency_ms, ap in points:
        if latency_ms is None or ap is None or not math.isfinite(latency_ms + ap):
            raise InvalidInput(_not_finite(points))
        if ap > best_ap.get(latency_ms, -math.inf):
            best_ap[latency_ms] = ap
    front: dict[float, float] = {}
    highest = -math.inf
    for latency_ms in sorted(best_ap):
        if best_ap[latency_ms] > highest:
            highest = front[latency_ms] = best_ap[latency_ms]
    return [front.get(latency_ms) == ap for latency_ms, ap in points]


def _not_finite(points: Sequence[tuple[float, float]]) -> str:
    index, point = next((i, p) for i, p in enumerate(points) if None in p or not math.isfinite(sum(p)))
    return f"point {index} is {point}; leave out points without a finite latency and AP"
