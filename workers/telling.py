"""What a running child tells becomes rows: progress, metric points, warnings, saved states, pieces of log."""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import Event
from detection_core.schemas.files import OutputFile
from webapp.artifacts.services import artifact_put
from webapp.jobs.models import Job
from webapp.jobs.services import job_event_add, job_log_append, job_progress, job_state_saved
from workers.database import AWAY, connected

logger = logging.getLogger(__name__)
PROGRESS_SECONDS = 1.0
METRIC_SECONDS = 10.0
LOG_SECONDS = 2.0
LOG_PIECE = 64 * 1024
MOST_LIVE_LOG = 4 * 1024 * 1024
MOST_WARNINGS = 100
READ_AT_ONCE = 1024 * 1024
LOG_READS = 16  # a child that floods its log does not keep the worker from looking after it

Write = Callable[[], None]


class Tail:
    """A file that grows, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._rest = path, 0, b""

    def read(self) -> bytes:
        """Return what came since the last reading, at most a mebibyte."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(READ_AT_ONCE)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data

    def lines(self) -> list[bytes]:
        """Return the whole lines that came."""
        *lines, self._rest = (self._rest + self.read()).split(b"\n")
        return lines


class Teller:
    """Carries a child's events and log into the database. While that is away they wait here, in order."""

    def __init__(self, job: Job, *, out: Path, log: Path) -> None:
        self._job, self._out = job, out
        self._events, self._log = Tail(out / "events.jsonl"), Tail(log)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._outbox: deque[Write] = deque()
        self._progress: dict[str, Any] | None = None
        self._point: dict[str, Any] = {}
        self._progress_at = self._point_at = self._log_at = float("-inf")
        self._log_bytes = self._warnings = 0

    def tell(self, *, all_of_it: bool = False) -> None:
        """Read what is new and write what is due; `all_of_it` at the end, whatever is due. Raises NotOwner and what the database raises."""
        while lines := self._events.lines():
            for line in lines:
                self._take(line)
        now = time.monotonic()
        self._point_due(now, all_of_it)
        self._log_due(now, all_of_it)
        if self._progress is not None and (all_of_it or now - self._progress_at >= PROGRESS_SECONDS):
            self._progress_at = now
            self._outbox.append(self._progress_write(self._progress))
            self._progress = None
        self._send()

    def try_to_tell(self) -> None:
        """Tell, and where the database is away leave it for the next time."""
        with suppress(*AWAY):
            self.tell()

    def _send(self) -> None:
        if not self._outbox:
            return
        with connected():
            while self._outbox:
                self._outbox[0]()
                self._outbox.popleft()

    def _take(self, line: bytes) -> None:
        try:
            event = Event.parse(json.loads(line))
        except ValueError:
            logger.warning("job %s wrote a line that is no event: %.200r", self._job.uuid, line)
            return
        if event.type == "progress":
            self._progress = {"fraction": event.fraction, "message": event.message, "eta_s": event.eta_s}
        elif event.type == "metric":
            self._metric(event)
        elif event.type == "samples" and event.examples is not None:
            seen = {"step": event.step, "epoch": event.epoch, "examples": event.examples.model_dump(mode="json")}
            self._outbox.append(self._event_write("samples", seen))
        elif event.type == "warning":
            self._warning(event.message or "")
        elif event.file is not None:
            self._state(event.file)

    def _metric(self, event: Event) -> None:
        """Keep a point back until it is due; the end of an epoch is due at once."""
        values = {**self._point.get("values", {}), **(event.values or {})}
        self._point = {"step": event.step, "epoch": event.epoch, "values": values}
        if event.epoch is not None and event.epoch == int(event.epoch):
            self._point_due(time.monotonic(), now_it_is=True)

    def _point_due(self, now: float, now_it_is: bool) -> None:
        if not self._point or not (now_it_is or now - self._point_at >= METRIC_SECONDS):
            return
        self._point_at = now
        self._outbox.append(self._event_write("metric", self._point))
        self._point = {}

    def _warning(self, message: str) -> None:
        self._warnings += 1
        if self._warnings == MOST_WARNINGS:
            message = "there are more warnings than are shown here; the log has them all"
        if self._warnings <= MOST_WARNINGS:
            self._outbox.append(self._event_write("warning", {"message": message}))

    def _state(self, file: OutputFile) -> None:
        """Hold the state by a second name, as the child may replace it before its turn comes."""
        held = self._out.parent / f"state-{file.sha256}"
        with suppress(FileNotFoundError, FileExistsError):
            os.link(self._out / file.path, held)
        self._outbox.append(lambda: self._keep_state(held, file))

    def _keep_state(self, held: Path, file: OutputFile) -> None:
        try:
            artifact = artifact_put(path=held, kind="training_state", name=Path(file.path).name, sha256=file.sha256)
        except (OSError, InvalidInput) as error:
            # Replaced before its turn came, or the storage was away or full: no reason to end a training that runs.
            logger.warning("job %s: the state %s was not kept (%s); the next one counts", self._job.uuid, file.sha256[:12], error)
            held.unlink(missing_ok=True)
            return
        job_state_saved(job_id=self._job.pk, attempt=self._job.attempt, artifact=artifact)
        held.unlink(missing_ok=True)

    def _log_due(self, now: float, all_of_it: bool) -> None:
        if not all_of_it and now - self._log_at < LOG_SECONDS:
            return
        self._log_at = now
        for _ in range(LOG_READS if not all_of_it else sys.maxsize):
            if not (data := self._log.read()):
                break
            self._log_pieces(self._decoder.decode(data))
        if all_of_it:
            self._log_pieces(self._decoder.decode(b"", final=True))

    def _log_pieces(self, text: str) -> None:
        for start in range(0, len(text), LOG_PIECE):
            if self._log_bytes >= MOST_LIVE_LOG:
                return
            # A NUL cannot be stored; replaced here so that the offsets count what is stored.
            piece = text[start : start + LOG_PIECE].replace("\x00", "\ufffd")
            size = len(piece.encode())
            if self._log_bytes + size >= MOST_LIVE_LOG:
                piece += "\n… the rest of the log is in the file that is kept at the end of the job\n"
            self._outbox.append(self._log_write(self._log_bytes, piece))
            self._log_bytes += size

    def _progress_write(self, progress: dict[str, Any]) -> Write:
        return lambda: job_progress(job_id=self._job.pk, attempt=self._job.attempt, progress=progress)

    def _event_write(self, type: str, data: dict[str, Any]) -> Write:
        return lambda: job_event_add(job_id=self._job.pk, attempt=self._job.attempt, type=type, data=data)

    def _log_write(self, offset: int, text: str) -> Write:
        return lambda: job_log_append(job_id=self._job.pk, attempt=self._job.attempt, offset=offset, text=text)
