"""The lease of a running job, kept by its own thread: whatever the job's other work takes, the renewal does not wait for it."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from django.conf import settings

from webapp.jobs.models import Job
from webapp.jobs.services import Renewal, job_look, job_renew
from workers.database import AWAY, connected
from workers.identity import Identity

logger = logging.getLogger(__name__)
LOOK_SECONDS = 1.0


class LeaseKeeper(threading.Thread):
    """Renews a job's lease and looks each second whether it is to be cancelled.

    `lost` is set once the job belongs to another attempt, `cancelled` once a person has asked for its end. While the database is away
    neither is: the child runs on, and the answer afterwards counts.
    """

    def __init__(self, job: Job, me: Identity) -> None:
        super().__init__(name=f"lease-{job.pk}", daemon=True)
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._job, self._me = job, me
        self._done = threading.Event()
        self._renewed_at = time.monotonic()

    def __enter__(self) -> LeaseKeeper:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self.join(timeout=30)

    def run(self) -> None:
        """Look and renew until the job has ended or is lost."""
        while not self._done.wait(min(LOOK_SECONDS, settings.HEARTBEAT_SECONDS / 2)):
            try:
                with connected():
                    answer = self._ask()
            except AWAY:
                logger.warning("job %s: the database does not answer, its lease is not renewed; its child runs on", self._job.uuid)
                continue
            if not answer.owned and not self._done.is_set():
                self.lost.set()
                return
            if answer.cancel_requested:
                self.cancelled.set()

    def _ask(self) -> Renewal:
        job, owner = self._job, self._me.owner
        if time.monotonic() - self._renewed_at < settings.HEARTBEAT_SECONDS:
            return job_look(job_id=job.pk, worker=owner, attempt=job.attempt)
        answer = job_renew(job_id=job.pk, worker=owner, attempt=job.attempt, host=self._me.lease_host)
        self._renewed_at = time.monotonic()
        return answer
