"""How the command line shows jobs and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from webapp.client.api import Job, Result


def ap_text(value: float | None) -> str:
    """AP times 100 with one decimal."""
    return "–" if value is None else f"{value * 100:.1f}"


def ms_text(value: float | None) -> str:
    """Milliseconds with three significant digits."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def fps_text(value: float | None) -> str:
    """Frames per second."""
    return "–" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def verdict(row: Result) -> str:
    """Say where a result stands."""
    if not row.complete:
        return "incomplete"
    if row.flags:
        return "flagged"
    return "front" if row.on_front else "dominated"


def results_table(rows: Sequence[Result], *, title: str) -> Table:
    """Return results as a table; latency and FPS are end to end at batch 1."""
    table = Table(title=title, caption="AP is COCO AP@[.5:.95] x100; latency and FPS are end to end, batch 1")
    table.add_column("model", no_wrap=True)
    table.add_column("backend", no_wrap=True)
    for name in ("AP", "AP50", "p50 ms", "p95 ms", "FPS"):
        table.add_column(name, justify="right")
    table.add_column("flags")
    table.add_column("front", no_wrap=True)
    for row in rows:
        numbers = (ap_text(row.ap), ap_text(row.ap50), ms_text(row.p50_ms), ms_text(row.p95_ms), fps_text(row.fps))
        style = "bold" if row.on_front else None
        table.add_row(row.model, row.backend, *numbers, " ".join(row.flags), verdict(row), style=style)
    return table


def studies_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the studies as a table."""
    table = Table()
    for name in ("study", "question"):
        table.add_column(name)
    table.add_column("trainings", justify="right")
    for row in rows:
        table.add_row(row["name"], row["question"], str(row["trainings"]))
    return table


def study_table(found: dict[str, Any]) -> Table:
    """Return the differences of a study as a table, with its sentences below."""
    table = Table(title=found["title"], caption=" ".join(found["sentences"]) or "no run of it has numbers yet")
    for name in ("arm", "against", "tested"):
        table.add_column(name)
    for name in ("AP", "from", "to", "paper"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for one in found["differences"]:
        numbers = (ap_text(one[name]) for name in ("difference", "low", "high", "paper_difference"))
        table.add_row(one["arm"], one["baseline"], one["tested"], *numbers, one["verdict"])
    return table


def jobs_table(rows: Sequence[Job]) -> Table:
    """Return jobs as a table."""
    table = Table()
    for name in ("id", "kind", "title", "state", "now"):
        table.add_column(name)
    for row in rows:
        table.add_row(row.uuid, row.kind, row.title, row.state, now_text(row))
    return table


def now_text(job: Job) -> str:
    """Say in a few words what a job is doing, or how it ended."""
    if job.state == "failed":
        return job.failure_message
    if job.state in ("waiting", "queued"):
        return job.waiting_because or ""
    return (job.progress or {}).get("message", "") if job.state == "running" else ""
