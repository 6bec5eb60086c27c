"""How numbers read on a page."""

from __future__ import annotations

import pytest

from webapp.templatetags.show import percent


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (0.00002, "< 0.01 %"),
        (0.0042, "0.42 %"),
        (0.24, "24.0 %"),
        (0.9973, "99.73 %"),
        (0.99999, "> 99.99 %"),
        (1.0, "100.0 %"),
    ],
)
def test_a_part_of_the_whole_reads_neither_as_nothing_nor_as_all_of_it(share, shown):
    assert percent(share) == shown
