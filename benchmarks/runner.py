"""Runs rows: interleaved rounds, so that a disturbance of the machine meets all arms alike; then medians, spread and ratios."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.row import Mark, Options, Row
from benchmarks.stack import Stack

RATIO_ARMS = 2


@dataclass(frozen=True)
class Figures:
    """All figures of one arm, in the order taken, with median, least and greatest."""

    arm: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle figure."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest figure."""
        return min(self.values), max(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        low, high = self.spread
        return {"arm": self.arm, "median": self.median, "min": low, "max": high, "values": list(self.values)}


@dataclass(frozen=True)
class Outcome:
    """One row's figures. `ratio` is the median over the rounds of second arm / first arm; `problem` says why there are none."""

    row: Row
    figures: tuple[Figures, ...] = ()
    ratio: float | None = None
    seconds: float = 0.0
    problem: str = ""
    met: bool = field(default=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        row = self.row
        known = {"name": row.name, "what": row.what, "unit": row.unit, "mark": asdict(row.mark), "met": self.met, "problem": self.problem}
        return {**known, "ratio": self.ratio, "arms": [figures.to_dict() for figures in self.figures], "seconds": round(self.seconds, 1)}


def run_rows(rows: Sequence[Row], *, quick: bool, on_row: Callable[[Outcome], None]) -> list[Outcome]:
    """Run every row; one that breaks is reported with its reason and the others go on."""
    outcomes = []
    stack = Stack()
    try:
        for row in rows:
            outcomes.append(run_row(row, quick=quick, stack=stack))
            on_row(outcomes[-1])
    finally:
        stack.stop()
    return outcomes


def run_row(row: Row, *, quick: bool, stack: Stack) -> Outcome:
    """Run one row."""
    began = time.monotonic()
    try:
        figures = _take(row, quick, stack)
    except Exception as error:  # whatever a row breaks on is its outcome; the other rows still run
        return Outcome(row, seconds=time.monotonic() - began, problem=f"{type(error).__name__}: {error}")
    ratio = paired_ratio(figures)
    met = mark_met(row.mark, figures[0].median, ratio)
    return Outcome(row, figures=figures, ratio=ratio, seconds=time.monotonic() - began, met=met)


def paired_ratio(figures: Sequence[Figures]) -> float | None:
    """Return the median over the rounds of the second arm's figure over the first's; None with one arm."""
    if len(figures) < RATIO_ARMS:
        return None
    return statistics.median(theirs / ours for ours, theirs in zip(figures[0].values, figures[1].values, strict=True))


def mark_met(mark: Mark, median: float, ratio: float | None) -> bool:
    """Tell whether the mark is met."""
    if mark.kind == "median":
        return median <= mark.limit
    if ratio is None:
        raise ValueError(f"a mark of the kind {mark.kind} needs two arms")
    return ratio >= mark.limit if mark.kind == "speedup" else 1 / ratio <= mark.limit


def _take(row: Row, quick: bool, stack: Stack) -> tuple[Figures, ...]:
    with tempfile.TemporaryDirectory(prefix="paretobox-bench-") as folder, row.arms(Options(quick, Path(folder), stack)) as arms:
        taken: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(row.quick_rounds if quick else row.rounds):
            for name, arm in arms.items():
                taken[name].append(arm())
    return tuple(Figures(name, tuple(values)) for name, values in taken.items())
