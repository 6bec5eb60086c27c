"""The sweeper: any worker looks every SWEEP_SECONDS for jobs whose worker is gone and for wake-ups that were lost."""

from __future__ import annotations

import logging
import threading

from django.conf import settings
from django.db import DatabaseError

from webapp.jobs.services import jobs_sweep
from workers.database import connected
from workers.threads import EssentialThread

logger = logging.getLogger(__name__)


class SweeperThread(EssentialThread):
    """Sweeps until the worker stops; of several workers one sweeps at a time."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__("sweeper", stopping)

    def serve(self) -> None:
        """Sweep, and say what was found."""
        while not self.stopping.wait(settings.SWEEP_SECONDS):
            try:
                with connected():
                    report = jobs_sweep()
            except DatabaseError as error:
                logger.warning("no sweep, the database refuses (%s)", error)
                continue
            if report.requeued or report.failed or report.cancelled:
                logger.warning("swept: %s", report)
