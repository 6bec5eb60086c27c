"""The heartbeat: a worker reports itself with its load and what it runs, and learns whether it is to take new jobs."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import psutil
from django.conf import settings
from django.db import DatabaseError

from webapp.hardware.services import worker_heartbeat, worker_register
from workers.database import connected
from workers.identity import Identity
from workers.lanes import Board
from workers.threads import EssentialThread

logger = logging.getLogger(__name__)


def register(me: Identity) -> None:
    """Write this worker down."""
    worker_register(name=me.name, host=me.host, boot_id=me.boot_id, pid=me.pid, lanes=me.lanes, threads=me.threads)


class HeartbeatThread(EssentialThread):
    """Beats every HEARTBEAT_SECONDS until the worker stops."""

    def __init__(self, me: Identity, board: Board, stopping: threading.Event) -> None:
        super().__init__("heartbeat", stopping)
        self._me, self._board = me, board

    def serve(self) -> None:
        """Report; a missing row is written anew."""
        while not self.stopping.wait(settings.HEARTBEAT_SECONDS):
            try:
                with connected():
                    self._beat()
            except DatabaseError as error:
                logger.warning("no heartbeat, the database refuses (%s)", error)

    def _beat(self) -> None:
        beat = worker_heartbeat(name=self._me.name, pid=self._me.pid, load={**machine_load(), "running": self._board.shown()})
        if not beat.known:
            register(self._me)
        self._board.draining = beat.draining


def machine_load() -> dict[str, Any]:
    """Return how busy the machine is: processor in percent, load averages, memory in gigabytes."""
    memory = psutil.virtual_memory()
    averages = [round(value, 2) for value in os.getloadavg()]
    used, total = round((memory.total - memory.available) / 1e9, 2), round(memory.total / 1e9, 2)
    return {"cpu_percent": psutil.cpu_percent(), "load_average": averages, "memory_used_gb": used, "memory_gb": total}
