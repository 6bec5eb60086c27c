"""Tasks are doors: a message wakes this worker up, and its slots look for the next job."""

from __future__ import annotations

from collections.abc import Callable

from webapp.celery import app
from webapp.jobs.queue import TASK

bells: list[Callable[[], None]] = []


@app.task(name=TASK, ignore_result=True)
def wake_up(job_id: str) -> None:
    """Look for a job now; not necessarily the one named, as the line decides."""
    for ring in bells:
        ring()
