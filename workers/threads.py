"""Threads without which a worker is no worker: where one dies, the process ends, so that its supervisor starts it again."""

from __future__ import annotations

import logging
import os
import signal
import threading

logger = logging.getLogger(__name__)


class EssentialThread(threading.Thread):
    """A thread that serves until `stopping`. A worker that looks alive and does nothing would be worse than none."""

    def __init__(self, name: str, stopping: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = stopping

    def run(self) -> None:
        """Serve; where that ends by an error, let the process end as if it was told to."""
        try:
            self.serve()
        finally:
            if not self.stopping.is_set():
                logger.critical("thread %s has died; this worker stops", self.name)
                os.kill(os.getpid(), signal.SIGTERM)

    def serve(self) -> None:
        """Do the work until `stopping` is set."""
        raise NotImplementedError
