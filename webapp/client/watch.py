"""Following a suite to its end on a terminal, or in a log without one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from webapp.client.api import Client, Job, Suite
from webapp.client.show import now_text


def watch_suite(client: Client, suite_id: str, console: Console, *, on_end: Callable[[Job], None] | None = None) -> Suite:
    """Wait until every job of a suite has ended; shows a bar for each running job, or a line for each ended one without a terminal."""
    ended: set[str] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        whole = bar.add_task("all jobs", total=1.0)
        running: dict[str, object] = {}
        while True:
            suite = client.suite(suite_id)
            jobs = suite.jobs
            for job in jobs:
                _show(bar, running, job)
                if job.final and job.uuid not in ended:
                    ended.add(job.uuid)
                    console.print(_ended_line(job), highlight=False)
                    if on_end:
                        on_end(job)
            counts = Counter(job.state for job in jobs)
            described = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            bar.update(whole, completed=len(ended) / max(1, len(jobs)), description=described)
            if all(job.final for job in jobs):
                return suite
            time.sleep(1.0)


def _show(bar: Progress, running: dict[str, object], job: Job) -> None:
    if job.state == "running":
        task = running.setdefault(job.uuid, bar.add_task("", total=1.0))
        text = f"{job.kind} {job.title}: {now_text(job)}"
        bar.update(task, completed=(job.progress or {}).get("fraction", 0.0), description=text)  # type: ignore[arg-type]
    elif job.uuid in running:
        bar.remove_task(running.pop(job.uuid))  # type: ignore[arg-type]


def _ended_line(job: Job) -> str:
    tail = f": {job.failure_message}" if job.failure_message else ""
    return f"{job.state:>9}  {job.kind:<9} {job.title}{tail}"
