"""Real workers on the test's own database: what they do is only seen there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection

from tests.workers.live import LiveWorker
from workers.processes import kill_session


@pytest.fixture(scope="session")
def fault_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for stored bytes and workers' state."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(autouse=True)
def own_folders(settings, fault_folder: Path) -> None:
    """Keep stored bytes there."""
    location = {"location": str(fault_folder / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}


@pytest.fixture(autouse=True)
def workers_give_way(transactional_db: None) -> Iterator[None]:
    """After a test its tables are emptied while a worker may be sweeping them: of the two it is the worker that Postgres stops, once
    its statement has waited for a second, and the worker tries again."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '1min'")


@pytest.fixture(scope="package")
def _workers(fault_folder: Path) -> Iterator[list[LiveWorker]]:
    made: list[LiveWorker] = []
    yield made
    for live in made:
        _end(live)


@pytest.fixture
def make_worker(transactional_db: None, fault_folder: Path) -> Iterator[Callable[..., LiveWorker]]:
    """Make workers that are not started yet; whatever is left of them is ended after the test."""
    made: list[LiveWorker] = []

    def make(**fields) -> LiveWorker:
        made.append(LiveWorker(fault_folder, **fields))
        return made[-1]

    yield make
    for live in made:
        _end(live)


@pytest.fixture
def worker(transactional_db: None, fault_folder: Path, _workers: list[LiveWorker]) -> LiveWorker:
    """A worker that goes from test to test, for those that leave it alive."""
    if not _workers:
        _workers.append(LiveWorker(fault_folder).start())
    process = _workers[0].process
    assert process is not None and process.poll() is None, f"the worker did not survive an earlier test: {_workers[0].log[-3000:]}"
    return _workers[0]


def _end(live: LiveWorker) -> None:
    if live.process is not None and live.process.poll() is None:
        with suppress(ProcessLookupError):
            live.process.kill()
        live.process.wait(timeout=10)
    for pid in live.all_pids():
        kill_session(pid, seconds=5)
