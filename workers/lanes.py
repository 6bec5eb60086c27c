"""Lanes and slots: a thread for each slot that claims the next job and carries it, woken up by messages or by its own clock."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError

from webapp.jobs.models import Job
from webapp.jobs.services import job_claim
from webapp.jobs.states import Slot
from workers.database import connected
from workers.lifecycle import Place, job_run
from workers.threads import EssentialThread

logger = logging.getLogger(__name__)
POLL_SECONDS = 2.0


@dataclass
class Board:
    """What the threads of a worker know of one another: what runs, what it can run, whether it takes new jobs."""

    running: dict[str, Job] = field(default_factory=dict)
    backends: frozenset[str] | None = None
    draining: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def shown(self) -> list[dict[str, Any]]:
        """Return what runs, as a heartbeat tells it."""
        with self.lock:
            return [{"job": str(job.uuid), "kind": job.kind, "slot": slot, "title": job.title} for slot, job in self.running.items()]


class SlotThread(EssentialThread):
    """Serves one slot: one job at a time."""

    def __init__(self, slot: Slot, place: Place, board: Board) -> None:
        super().__init__(f"slot-{slot}", place.stopping)
        self._slot, self._place, self._board = slot, place, board
        self._bell = threading.Event()

    def wake_up(self) -> None:
        """Look for a job now."""
        self._bell.set()

    def serve(self) -> None:
        """Claim and carry jobs until the worker stops."""
        while not self.stopping.is_set():
            job = self._claim()
            if job is None:
                self._bell.wait(POLL_SECONDS)
                self._bell.clear()
                continue
            self._begin(job)
            try:
                job_run(job, self._place)
            finally:
                with self._board.lock:
                    del self._board.running[self._slot]

    def _claim(self) -> Job | None:
        """Take the next job; a lost, doubled or late wake-up changes nothing here."""
        if self._board.draining:
            return None
        me = self._place.me
        try:
            with connected():
                return job_claim(worker=me.owner, lanes=me.lanes, slot=self._slot, host=me.lease_host, backends=self._board.backends)
        except DatabaseError as error:
            logger.warning("no job can be claimed (%s)", error)
            return None

    def _begin(self, job: Job) -> None:
        logger.info("job %s: %s claimed, attempt %s", job.uuid, job.kind, job.attempt)
        with self._board.lock:
            if not self._board.running:
                self._place.cache.prune()
            self._board.running[self._slot] = job
