"""The board as a file: CSV, JSON or Markdown, every matching row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from webapp.results.models import Result
from webapp.results.presentation import score_thresh

MOST_ROWS = 20_000
COLUMNS: dict[str, Callable[[Result], Any]] = {
    "uuid": lambda row: str(row.uuid),
    "model": lambda row: row.model,
    "family": lambda row: row.family,
    "stages": lambda row: row.stages,
    "backend": lambda row: row.backend,
    "dtype": lambda row: row.dtype,
    "input_size": lambda row: row.input_size,
    "ap": lambda row: row.ap,
    "ap_low": lambda row: row.ap_low,
    "ap_high": lambda row: row.ap_high,
    "ap50": lambda row: row.ap50,
    "ap75": lambda row: row.ap75,
    "ap_small": lambda row: row.ap_small,
    "small_recall": lambda row: row.small_recall,
    "ar_100": lambda row: row.ar_100,
    "p50_ms": lambda row: row.p50_ms,
    "p95_ms": lambda row: row.p95_ms,
    "mean_ms": lambda row: row.mean_ms,
    "fps": lambda row: row.fps,
    "params_m": lambda row: row.params_m,
    "macs_g": lambda row: row.macs_g,
    "size_bytes": lambda row: row.size_bytes,
    "flags": lambda row: " ".join(row.flags),
    "complete": lambda row: row.complete,
    "on_front": lambda row: row.on_front,
    "group": lambda row: row.group_key,
    "duration": lambda row: row.duration,
    "scenario": lambda row: row.scenario,
    "threads": lambda row: row.threads,
    "score_thresh": score_thresh,
    "dataset": lambda row: str(row.dataset_version),
    "split": lambda row: row.split,
    "environment": lambda row: row.environment.title,
    "environment_hash": lambda row: row.environment.stable_hash,
    "licence": lambda row: row.licence,
    "origin": lambda row: row.origin,
    "created_at": lambda row: row.created_at.isoformat(timespec="seconds"),
}


def board_csv(rows: Iterable[Result]) -> str:
    """Write the rows as CSV; AP 0..1, times in ms."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(read(row)) for read in COLUMNS.values()] for row in rows)
    return text.getvalue()


def board_json(rows: Iterable[Result]) -> str:
    """Write the rows as a JSON array of objects."""
    return json.dumps([{name: read(row) for name, read in COLUMNS.items()} for row in rows], indent=1) + "\n"


def board_markdown(rows: Iterable[Result]) -> str:
    """Write the rows as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        cells = ("" if (value := read(row)) is None else str(value).replace("|", "\\|") for read in COLUMNS.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


FORMATS: dict[str, tuple[str, Callable[[Iterable[Result]], str]]] = {
    "csv": ("text/csv; charset=utf-8", board_csv),
    "json": ("application/json", board_json),
    "md": ("text/markdown; charset=utf-8", board_markdown),
}
