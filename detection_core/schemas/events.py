"""Events: what a running job tells while it runs, one JSON object a line in `events.jsonl`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from detection_core.schemas.accuracy_files import ExamplesSample
from detection_core.schemas.base import Schema
from detection_core.schemas.files import OutputFile
from detection_core.schemas.text import StorableText


class Event(Schema):
    """One line of `events.jsonl`.

    `progress`: `fraction` 0..1, `message`, `eta_s` or None. `metric`: `step`, `epoch` and named numbers in `values`.
    `samples`: `step`, `epoch` and what is found now on a few images of val (`examples`). `state`: a resumable state was written (`file`).
    `warning`: `message`.
    """

    type: Literal["progress", "metric", "samples", "state", "warning"]
    time: float
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    message: StorableText | None = None
    eta_s: float | None = None
    step: int | None = None
    epoch: float | None = None
    values: dict[str, float | None] | None = None
    examples: ExamplesSample | None = None
    file: OutputFile | None = None


class EventWriter:
    """Appends events to a file; safe to call from several threads. With `path` None the events are dropped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def progress(self, fraction: float, message: str, *, eta_s: float | None = None) -> None:
        """Say how far the job is (0..1) and what it is doing."""
        self._write(type="progress", fraction=min(max(fraction, 0.0), 1.0), message=message, eta_s=eta_s)

    def metric(self, values: dict[str, float | None], *, step: int, epoch: float | None = None) -> None:
        """Report numbers for the live curves."""
        self._write(type="metric", values=values, step=step, epoch=epoch)

    def samples(self, examples: ExamplesSample, *, step: int, epoch: float | None = None) -> None:
        """Show what is found now on a few images."""
        self._write(type="samples", examples=examples, step=step, epoch=epoch)

    def state(self, file: OutputFile) -> None:
        """Say that a resumable state was written completely."""
        self._write(type="state", file=file)

    def warning(self, message: str) -> None:
        """Report something a person should know and that does not stop the job."""
        self._write(type="warning", message=message)

    def _write(self, **fields: Any) -> None:
        if self._path is None:
            return
        line = json.dumps(Event(time=time.time(), **fields).model_dump(mode="json", exclude_defaults=True))
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
