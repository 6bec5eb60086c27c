"""Two results on the same draws: what cancels, what p says, and when one may be said to beat the other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from detection_core.evaluation.paired import holm, paired_difference, two_sided_p, winner
from detection_core.schemas.base import InvalidInput


def test_what_makes_a_draw_hard_for_both_cancels():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.05, 1000)
    first, second = 0.52 + luck, 0.50 + luck + rng.normal(0, 0.002, 1000)
    found = paired_difference(first, second, 0.52, 0.50)
    assert found.difference == pytest.approx(0.02) and 0.015 < found.low < 0.02 < found.high < 0.025
    assert found.p == 1 / 1000
    assert paired_difference(second, first, 0.50, 0.52).high == pytest.approx(-found.low)
    # Without the pairs the same draws show nothing.
    assert paired_difference(first, rng.permutation(second), 0.52, 0.50).p > 0.3


def test_p_is_twice_the_smaller_tail_with_zero_in_both_and_a_floor():
    assert two_sided_p(np.array([-1, 1, 1, 1, 1, 1, 1, 1, 1, 1])) == pytest.approx(0.2)
    assert two_sided_p(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])) == pytest.approx(0.2)
    assert two_sided_p(np.ones(500)) == pytest.approx(1 / 500)
    assert two_sided_p(np.zeros(10)) == 1


def test_holm_is_right_on_a_case_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1] and holm([]) == []


def test_one_beats_the_other_only_where_the_corrected_p_allows():
    found = paired_difference([0.5 + step / 1e4 for step in range(200)], [0.4] * 200, 0.51, 0.4)
    assert winner(found, 0.01) == "first"
    assert winner(found, 0.05) is None
    turned = paired_difference([0.4] * 200, [0.5 + step / 1e4 for step in range(200)], 0.4, 0.51)
    assert winner(turned, 0.01) == "second"


def test_one_does_not_beat_the_other_where_the_numbers_and_the_draws_contradict_each_other():
    draws = [0.5 + step / 1e4 for step in range(200)], [0.4] * 200
    assert winner(paired_difference(*draws, 0.4, 0.4), 0.01) is None
    assert winner(paired_difference(*draws, 0.4, 0.5), 0.01) is None


def test_a_result_does_not_beat_its_own_copy():
    draws = np.random.default_rng(1).normal(0.4, 0.02, 1000)
    found = paired_difference(draws, draws, 0.4, 0.4)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert winner(found, found.p) is None


def test_draws_that_leave_the_number_undefined_are_left_out():
    first = [0.5, None, 0.5, 0.6, 0.5]
    found = paired_difference(first, [0.4, 0.4, float("nan"), 0.5, 0.5], 0.5, 0.4)
    assert found.draws == 3 and found.p == pytest.approx(2 / 3)
    assert paired_difference(first, [None, None, 0.4, None, None], 0.5, 0.4) is None


def test_draws_of_other_numbers_are_refused_with_the_remedy():
    with pytest.raises(InvalidInput, match=r"3 draws and the other 2.*evaluate both again"):
        paired_difference([1, 1, 1], [1, 1], 1, 1)


def test_a_site_that_compares_loads_no_evaluator_and_no_torch():
    code = (
        "import sys, detection_core.evaluation.paired; "
        "sys.exit(str({'torch', 'hotcoco', 'pycocotools', 'onnxruntime'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
