"""How evidence is written down: marks, results without what means something on their own site only, tables."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.evidence.submitting import ROOT
from webapp.client.api import Suite

OUT = ROOT / "docs" / "evidence"
OF_ONE_SITE = ("url", "uuid", "group", "suite", "checkpoint", "dataset_version")


def mark(what: str, wanted: float, found: float | None, *, at_most: bool = False) -> dict[str, Any]:
    """Return a figure beside what it should be; nothing found is a mark missed."""
    reached = found is not None and (found <= wanted if at_most else found >= wanted)
    return {"what": what, "wanted": f"{'<=' if at_most else '>='} {wanted}", "found": found, "reached": reached}


def mark_lines(marks: list[dict[str, Any]]) -> list[str]:
    """Return marks as the lines of a Markdown table."""
    lines = ["| mark | wanted | found | |", "|---|---|---|---|"]
    for entry in marks:
        found = "not measured" if entry["found"] is None else f"{entry['found']:.4f}"
        lines.append(f"| {entry['what']} | {entry['wanted']} | {found} | {'reached' if entry['reached'] else '**missed**'} |")
    return lines


def failures(suites: list[Suite]) -> list[str]:
    """Return a line for each job that did not succeed."""
    return [f"{job.kind} {job.title}: {job.failure_message}" for suite in suites for job in suite.jobs if job.state != "succeeded"]


def backend_pairs(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return the AP of each checkpoint that was evaluated by both backends: eager, onnxruntime."""
    by_model: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["ap"] is not None:
            by_model.setdefault((row["dataset"], row["model"]), {})[row["backend"]] = row["ap"]
    return [(found["eager"], found["onnxruntime"]) for found in by_model.values() if len(found) == 2]


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what means something on its own site only."""
    return {name: value for name, value in row.items() if name not in OF_ONE_SITE}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return results as the lines of a Markdown table."""
    head = "| model | backend | input | AP | AP50 | p50 ms | p95 ms | FPS | flags | front |"
    return [head, "|" + "---|" * 10, *[_line(row) for row in rows]]


def write(name: str, report: dict[str, Any], lines: list[str]) -> None:
    """Write docs/evidence/<name>.json and .md."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (OUT / f"{name}.md").write_text("\n".join(lines) + "\n")


def _line(row: dict[str, Any]) -> str:
    numbers = [f"{row[name] * 100:.1f}" if row[name] is not None else "–" for name in ("ap", "ap50")]
    numbers += [f"{row[name]:.3g}" if row[name] is not None else "–" for name in ("p50_ms", "p95_ms", "fps")]
    front = "front" if row["on_front"] else "flagged" if row["flags"] else "dominated"
    return f"| {row['model']} | {row['backend']} | {row['input_size']} | {' | '.join(numbers)} | {' '.join(row['flags'])} | {front} |"
