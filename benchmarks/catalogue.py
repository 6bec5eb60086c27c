"""All rows, in the order they run."""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.rows import cancel, feeding, front, harness, recovery, scoring, submit

ROWS: tuple[Row, ...] = (
    front.ROW,
    harness.ROW,
    feeding.ROW,
    scoring.ROW,
    scoring.NUMBERS,
    scoring.INTERVAL,
    scoring.MEMORY,
    submit.ROW,
    cancel.ROW,
    recovery.CHILD,
    recovery.WORKER,
)
