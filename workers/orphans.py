"""Pid files: which process groups this worker has started, so that its next process can end what was left."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from workers.processes import kill_session, session_members, start_time

logger = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another process of this machine is this worker."""


@dataclass(frozen=True)
class PidFiles:
    """The pid files of one worker; `boot_id` marks the run of the machine for which they hold."""

    folder: Path
    boot_id: str

    def write(self, pid: int) -> None:
        """Name a group that has just started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{pid}.part"
        part.write_text(json.dumps({"pid": pid, "started": start_time(pid), "boot_id": self.boot_id}))
        part.replace(self._path(pid))

    def remove(self, pid: int) -> None:
        """Forget a group that is gone."""
        self._path(pid).unlink(missing_ok=True)

    def clear_former(self) -> int:
        """Kill the groups that an earlier process left, and forget them. Returns how many were still alive."""
        killed = 0
        for path in sorted(self.folder.glob("*.json")):
            killed += self._clear(path)
            path.unlink(missing_ok=True)
        return killed

    def _clear(self, path: Path) -> int:
        try:
            named = json.loads(path.read_text())
            pid, started, boot_id = int(named["pid"]), named["started"], named["boot_id"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        leader = start_time(pid)
        reused = leader is not None and leader != started
        # While a group has members the system gives its number to nobody else: no leader but members means that they are ours.
        if boot_id != self.boot_id or reused or not session_members(pid):
            return 0
        logger.warning("killing process group %s, left by an earlier process of this worker", pid)
        kill_session(pid)
        return 1

    def _path(self, pid: int) -> Path:
        return self.folder / f"{pid}.json"


def take_lock(folder: Path) -> TextIOWrapper:
    """Be the only process of this worker on this machine until it ends; the lock goes with the process.

    Raises:
        AlreadyRunning: another process is this worker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        remedy = "stop it, or give this one its own PARETOBOX_WORKER"
        raise AlreadyRunning(f"a worker named {folder.name} is running already; {remedy}") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
