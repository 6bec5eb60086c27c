"""The report of a run: a table to read, and JSON to compute with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.row import Mark
from benchmarks.runner import Figures, Outcome

PACKAGES = ("hotcoco", "pycocotools", "torch", "onnxruntime", "django", "celery")
HEADER = ("row", "what", "ours", "beside", "ratio", "mark", "")


def machine() -> dict[str, Any]:
    """Return where the figures were taken."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.platform(), "cpu": _cpu(), "cores": cores, "python": platform.python_version(), "packages": _versions()}


def write_report(outcomes: Sequence[Outcome], folder: Path, *, quick: bool) -> tuple[Path, Path]:
    """Write report.json and report.md; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    where = machine()
    data = {"taken_at": taken, "quick": quick, "machine": where, "rows": [outcome.to_dict() for outcome in outcomes]}
    text = [f"# Bench, {taken}{' (quick)' if quick else ''}", "", f"{where['cpu']}, {where['cores']} cores, Python {where['python']}", ""]
    text += ["| " + " | ".join(cells) + " |" for cells in (HEADER, ("---",) * len(HEADER), *map(cells_of, outcomes))]
    as_json, as_text = folder / "report.json", folder / "report.md"
    as_json.write_text(json.dumps(data, indent=2) + "\n")
    as_text.write_text("\n".join(text) + "\n")
    return as_json, as_text


def cells_of(outcome: Outcome) -> tuple[str, ...]:
    """Return a row's cells: name, what, ours, the other arm, ratio, mark, verdict."""
    row = outcome.row
    if outcome.problem:
        return row.name, row.what, "-", "-", "-", describe(row.mark, row.unit), f"FAILED: {outcome.problem}"
    shown = [_show(figures, row.unit) for figures in outcome.figures]
    beside = "; ".join(f"{figures.arm} {text}" for figures, text in zip(outcome.figures[1:], shown[1:], strict=True)) or "-"
    ratio = "-" if outcome.ratio is None else f"{outcome.ratio:.3g}"
    return row.name, row.what, shown[0], beside, ratio, describe(row.mark, row.unit), "met" if outcome.met else "MISSED"


def describe(mark: Mark, unit: str) -> str:
    """Return a mark in words."""
    words = {
        "median": f"<= {mark.limit:g} {unit}",
        "speedup": f"at least {mark.limit:g} times as fast",
        "overhead": f"<= {mark.limit:g} times",
    }
    return words[mark.kind]


def _show(figures: Figures, unit: str) -> str:
    low, high = figures.spread
    return f"{figures.median:.3g} {unit} ({low:.3g} to {high:.3g})"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
