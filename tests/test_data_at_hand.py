"""Data of others: tests that need it are skipped where it is not, and fail where somebody said that it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import data_at_hand


@pytest.fixture
def nowhere(monkeypatch, tmp_path: Path) -> Path:
    """A folder without any data."""
    monkeypatch.setattr(data_at_hand, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("variables", [{}, {"CI": "true"}, {"PARETOBOX_DATA": "somewhere"}, {"CI": "false", "PARETOBOX_DATA": "somewhere"}])
def test_without_the_data_a_test_is_skipped_with_the_reason(nowhere, monkeypatch, variables):
    for name in ("CI", "PARETOBOX_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(pytest.skip.Exception, match="the data set bccd is not at hand: set PARETOBOX_DATA"):
        data_at_hand.data_folder("bccd")


def test_on_ci_a_folder_that_was_named_and_is_not_there_is_a_failure(nowhere, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PARETOBOX_DATA", str(nowhere))
    with pytest.raises(pytest.fail.Exception, match="the data set bccd is not in the folder that PARETOBOX_DATA names"):
        data_at_hand.data_folder("bccd")
    (nowhere / "bccd").mkdir()
    assert data_at_hand.data_folder("bccd") == nowhere / "bccd"
