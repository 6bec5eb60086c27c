"""A process of the stack: started with a death signal, watched, stopped."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.errors import StartError


@functools.cache
def death_signal(name: str) -> tuple[str, ...]:
    """Return the start of a command line that has the kernel send signal `name` when our process dies; empty where there is no setpriv."""
    setpriv = shutil.which("setpriv")
    command = (setpriv or "", "--pdeathsig", name, "--")
    if setpriv is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        return ()
    return command


class Process:
    """A child in a session of its own, so that a Ctrl-C in the terminal reaches only the supervisor.

    Args:
        name: what people call it.
        argv: its command line.
        log: file that its output is appended to; None: it writes to our own output.
        env: its whole environment; None: ours.
        folder: where it runs.
        lock_fd: an open file that it keeps open while it lives.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        lock_fd: int = -1,
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the death signal follows the thread that starts a process: start it from the main thread")
        self.name = name
        self.log = log
        self.started = time.monotonic()
        with log.open("ab") if log else contextlib.nullcontext() as output:
            self._log_start = output.tell() if output else 0
            self._popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=dict(env) if env is not None else None,
                cwd=folder,
                start_new_session=True,
                pass_fds=(lock_fd,) if lock_fd >= 0 else (),
            )
        self.pid = self._popen.pid

    def returncode(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._popen.poll()

    def require_running(self) -> None:
        """Raise StartError with the last line of the log if it has ended."""
        code = self.returncode()
        if code is not None:
            raise StartError(f"{self.name} ended with code {code} while starting: {self.last_line()} (whole log: {self.log})")

    def last_line(self) -> str:
        """Return the last line it wrote that is not blank."""
        if self.log is None:
            return "see above"
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._popen.send_signal(number)

    def stop(self, number: int, seconds: float) -> bool:
        """Ask it to end, wait, and kill its process group if it does not. Return whether it ended by itself."""
        self.signal(number)
        try:
            self._popen.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def kill(self) -> None:
        """Kill its process group and wait for its end."""
        if self.returncode() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
