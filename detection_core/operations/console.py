"""What a person at a terminal sees of a job, and the tables that the commands print."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from detection_core.schemas.events import EventWriter
from detection_core.schemas.files import OutputFile

QUIET_S = 2.0


class ConsoleEvents(EventWriter):
    """Writes events to their file like every writer, and a line for each to standard error (progress at most every two seconds)."""

    _last_progress = float("-inf")

    def progress(self, fraction: float, message: str, *, eta_s: float | None = None) -> None:
        """See `EventWriter.progress`."""
        super().progress(fraction, message, eta_s=eta_s)
        if time.monotonic() - self._last_progress >= QUIET_S:
            self._last_progress = time.monotonic()
            left = "" if eta_s is None else f", {eta_s:.0f} s left"
            _say(f"{fraction:4.0%}  {message}{left}")

    def metric(self, values: dict[str, float | None], *, step: int, epoch: float | None = None) -> None:
        """See `EventWriter.metric`."""
        super().metric(values, step=step, epoch=epoch)
        at = f"step {step}" if epoch is None else f"epoch {epoch:g}"
        _say(f"      {at}: " + "  ".join(f"{name} {short(value)}" for name, value in values.items()))

    def state(self, file: OutputFile) -> None:
        """See `EventWriter.state`."""
        super().state(file)
        _say(f"      saved {file.path}")

    def warning(self, message: str) -> None:
        """See `EventWriter.warning`."""
        super().warning(message)
        _say(f"warning: {message}")


def short(value: Any) -> str:
    """Show a value in a table cell."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows (at least one) under the names of their fields."""
    cells = [list(rows[0])] + [[short(value) for value in row.values()] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def listing(fields: Mapping[str, Any]) -> str:
    """Lay out one record, a field a line."""
    width = max(len(name) for name in fields)
    return "\n".join(f"{name.ljust(width)}  {short(value)}" for name, value in fields.items())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
