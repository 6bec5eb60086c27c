"""The surroundings of an operation under test."""

from __future__ import annotations

import pytest

from detection_core.operations.context import JobContext
from detection_core.operations.run import THREAD_VARIABLES
from detection_core.schemas.events import EventWriter


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """Operations set thread variables and use a cache: keep both inside the test."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def job(tmp_path):
    (tmp_path / "out").mkdir()
    return JobContext(
        out=tmp_path / "out", events=EventWriter(tmp_path / "out" / "events.jsonl"), inputs=tmp_path / "inputs", cache=tmp_path / "cache"
    )
