"""All rows, in the order they run."""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.rows import front, harness, scoring

ROWS: tuple[Row, ...] = (front.ROW, harness.ROW, scoring.ROW)
