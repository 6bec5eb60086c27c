"""A supervisor to test: started as people start it, on a home and a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from deploy.local.home import free_port
from deploy.local.stack import ROOT

READY_S = 180.0
READY_WORDS = "user and password:"
SET_BY_TESTS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PARETOBOX_HOME", "PORT", "SITE_URL", "PARETOBOX_TEST_DB")


class Supervised:
    """One run of `python -m deploy.local up`."""

    def __init__(self, home: Path, port: int | None = None) -> None:
        self.home = home
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = home.with_suffix(".out")
        with self._output.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", "up", "--home", str(home), "--port", str(self.port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if name not in SET_BY_TESTS},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has written, with what earlier runs on the same home wrote."""
        return self._output.read_text()

    def await_words(self, words: str, times: int = 1) -> None:
        """Wait until it has written `words` often enough."""
        wait_until(lambda: self.output.count(words) >= times, READY_S, lambda: f"{words!r} was not written; {self.output}{self.logs()}")

    def logs(self) -> str:
        """Return the ends of all logs, for messages."""
        return "".join(f"\n== {log.name}\n{log.read_text()[-1500:]}" for log in sorted(self.home.glob("logs/*.log")))

    def access(self) -> dict[str, Any]:
        """Return what access.json holds."""
        return json.loads((self.home / "access.json").read_text())

    def status(self, path: str) -> int:
        """Return the HTTP status of a page."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return answer.status

    def processes(self) -> list[psutil.Process]:
        """Return every living process that belongs to the home, the supervisor among them."""
        return [process for process in psutil.process_iter() if _belongs(process, str(self.home))]

    def left(self) -> list[str]:
        """Return the command lines of what `processes` returns, for messages."""
        lines = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(f"{process.pid} (parent {process.ppid()}): {' '.join(process.cmdline())}")
        return lines

    def process(self, words: str) -> psutil.Process:
        """Return the one process with `words` in its command line whose parent is the supervisor."""
        found = [process for process in psutil.Process(self._popen.pid).children() if words in " ".join(process.cmdline())]
        assert len(found) == 1, f"{len(found)} processes with {words!r}: {found}"
        return found[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the supervisor; return its exit code."""
        self._popen.send_signal(number)
        return self._popen.wait(90)

    def end(self) -> None:
        """Whatever happened, leave nothing; processes that outlive their supervisor fail the test and are killed."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        try:
            wait_until(lambda: not self.left(), 30, lambda: f"left over: {self.left()}")
        finally:
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()


def run_up(home: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run `up` where it is expected to refuse."""
    command = [sys.executable, "-m", "deploy.local", "up", "--home", str(home), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_TESTS}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def wait_until(condition: Any, seconds: float, message: Any) -> None:
    """Wait for a condition, or fail with a message."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.1)


def _belongs(process: psutil.Process, home: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if any(home in part for part in process.cmdline()) or process.environ().get("PARETOBOX_HOME") == home:
            return True
        return process.cwd().startswith(home)  # Valkey and the backends of Postgres give themselves other titles
    except psutil.Error:
        return False
