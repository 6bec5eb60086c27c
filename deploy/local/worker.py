"""The start command of a worker and how to tell that it is ready."""

from __future__ import annotations

import sys
from pathlib import Path

STOP_S = 40.0
SILENT_S = 15

ALIVE = """
    SELECT 1 FROM hardware_worker
    WHERE pid = %s AND stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => %s)
"""


def command() -> list[str]:
    """Return the command of one worker: a threads pool, for each job is a child process of its own."""
    options = ["-P", "threads", "--concurrency", "2", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "-A", "workers.celery", "worker", *options]


def lanes() -> str:
    """Return the lanes that this machine can serve."""
    return "cpu,cuda" if Path("/dev/nvidiactl").exists() else "cpu"


def ready(database_url: str, pid: int) -> bool:
    """Tell whether the worker process `pid` has reported itself lately."""
    import psycopg

    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            return connection.execute(ALIVE, [pid, SILENT_S]).fetchone() is not None
    except psycopg.Error:
        return False
