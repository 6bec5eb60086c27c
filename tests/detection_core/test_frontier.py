"""The front is compared with the definition itself."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from detection_core.frontier import pareto_front
from detection_core.schemas.base import InvalidInput


def brute_force(points):
    def dominated(a):
        return any(b[0] <= a[0] and b[1] >= a[1] and (b[0] < a[0] or b[1] > a[1]) for b in points)

    return [not dominated(point) for point in points]


def test_it_agrees_with_the_definition_on_1000_random_sets_with_ties():
    rng = random.Random(7)
    for round_number in range(1000):
        count = rng.randrange(0, 25)
        if round_number % 2:
            points = [(rng.random() * 100, rng.random()) for _ in range(count)]
        else:  # few values, so that equal latencies, equal APs and equal points are common
            points = [(float(rng.randrange(1, 6)), rng.randrange(0, 6) / 5) for _ in range(count)]
        assert pareto_front(points) == brute_force(points), points


def test_equal_points_share_their_fate():
    assert pareto_front([(10.0, 0.5), (10.0, 0.5), (20.0, 0.5), (20.0, 0.4), (20.0, 0.4)]) == [True, True, False, False, False]


def test_at_equal_latency_only_the_higher_ap_is_on_the_front():
    assert pareto_front([(10.0, 0.4), (10.0, 0.5), (5.0, 0.1)]) == [False, True, True]


def test_no_point_gives_no_front():
    assert pareto_front([]) == []


@pytest.mark.parametrize("bad", [(float("nan"), 0.5), (10.0, float("nan")), (None, 0.5), (10.0, None), (float("inf"), 0.5)])
def test_a_point_without_finite_figures_is_refused_by_its_number(bad):
    with pytest.raises(InvalidInput, match="point 1"):
        pareto_front([(1.0, 0.5), bad])


def test_it_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None; import detection_core.frontier"
    subprocess.run([sys.executable, "-c", code], check=True)
