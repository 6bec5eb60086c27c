"""The child process of a job: its own session, a lifeline on stdin, no secrets, and an end that is proved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workers.orphans import PidFiles
from workers.processes import POLL_S, kill_session, send, session_members, still_alive

SECRETS = re.compile(r"(^(DATABASE|REDIS|CELERY|DJANGO|AWS|S3)_)|SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|(_|^)KEY(_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Proof:
    """How the processes of a job ended: how many there were, whether all are gone, after how long, and which signal it took."""

    processes: int
    processes_gone: bool
    seconds: float
    signal: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        return asdict(self)


class Child:
    """A started child. `pid` is also its session and group."""

    def __init__(self, argv: Sequence[str], *, folder: Path, log: Path, pid_files: PidFiles, extra_env: dict[str, str]) -> None:
        """Start `argv` in `folder` with its output in `log`."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=child_env(dict(os.environ)) | extra_env,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._pid_files = pid_files
        try:
            pid_files.write(self.pid)
        except OSError:
            self.end()
            raise

    def poll(self) -> int | None:
        """Return the exit status once the child has ended (minus the signal that ended it), else None."""
        return self._process.poll()

    def stop(self, *, grace: float, whole_group: bool = True) -> Proof:
        """End the child and all it has started: SIGTERM, after `grace` seconds SIGKILL; see that they are gone."""
        started = time.monotonic()
        members = session_members(self.pid)
        send(members if whole_group else [self.pid], signal.SIGTERM)
        while (self.poll() is None or still_alive(members)) and time.monotonic() - started < grace:
            time.sleep(POLL_S)
            if not whole_group and self.poll() is not None:
                break
        left = session_members(self.pid) | still_alive(members)
        gone = self.end(members)
        return Proof(len(members), gone, round(time.monotonic() - started, 3), "SIGKILL" if left else "SIGTERM")

    def end(self, known: dict[int, str] | None = None) -> bool:
        """Kill whatever of the group (and of `known`) is left, close the lifeline, forget the pid. Returns whether all are gone."""
        gone = kill_session(self.pid, known=known, reap=self.poll)
        if gone:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            self._pid_files.remove(self.pid)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        return gone


def child_env(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment without anything that opens the database, the queue, the storage or the site."""
    return {name: value for name, value in environ.items() if not SECRETS.search(name)}
