"""Starts the stack, keeps it running, stops it. One thread: the death signal of a child follows the thread that started it."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deploy.local.errors import StartError, StopRequested
from deploy.local.home import Home, port_is_free
from deploy.local.stack import Stack

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
RESTARTED = ("postgres", "valkey", "site", "worker")


@dataclass(frozen=True)
class Options:
    """What `up` and `demo` are asked to do.

    Args:
        home: the state folder.
        port: of the site.
        demo: run the starter benchmark once the site is up.
        exit_after: stop when the benchmark has ended.
    """

    home: Path
    port: int
    demo: bool = False
    exit_after: bool = False


class Supervisor:
    """One run of the stack, from the first check to the last process gone."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._home = Home(options.home)
        self._stack = Stack(home=self._home, port=options.port, wait=self.wait)
        self._signals = 0
        self._crashes: dict[str, tuple[int, float]] = {}
        self._demo_code: int | None = None

    def run(self) -> int:
        """Start, keep running until asked to stop, stop. Return the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._start()
            self._watch()
        except StopRequested:
            say("stopping")
        except StartError as error:
            print(f"paretobox: {error}", file=sys.stderr, flush=True)
            self._demo_code = 1
        finally:
            self._stop()
        return self._demo_code or 0

    def wait(self, seconds: float) -> None:
        """Sleep; raise StopRequested when a signal asked us to stop."""
        if self._signals:
            raise StopRequested
        time.sleep(seconds)
        if self._signals:
            raise StopRequested

    def _start(self) -> None:
        stack = self._stack
        if self._home.path.exists():
            self._home.take(self.wait, say)  # before the port, which our own running site would hold
        if not port_is_free(self._options.port):
            raise StartError(
                f"port {self._options.port} is taken by another program; choose another, for example PORT={self._options.port + 1}"
            )
        if self._home.lock_fd < 0:
            self._home.take(self.wait, say)
        began = time.monotonic()
        stack.start_servers()
        for name, variable in (("postgres", "DATABASE_URL"), ("valkey", "REDIS_URL")):
            say(f"{name:<10}ready" if name in stack.processes else f"{name:<10}yours, from {variable}")
        stack.prepare()
        say("database  up to date")
        stack.start_site()
        stack.start_worker()
        stack.await_site()
        say("site      ready")
        stack.await_worker()
        say(f"worker    ready, {time.monotonic() - began:.1f} s in all")
        say(f"\n{stack.url}  user and password: {self._home.access}\n")

    def _watch(self) -> None:
        demo = self._stack.start_demo() if self._options.demo else None
        while True:
            self.wait(0.25)
            if demo is not None and demo.returncode() is not None:
                self._demo_code = demo.returncode()
                demo = None
                self._stack.processes.pop("demo")
                if self._options.exit_after:
                    raise StopRequested
                say(f"\n{self._stack.url} stays up; Ctrl-C stops it")
            for name in RESTARTED:
                self._restart_if_ended(name)

    def _restart_if_ended(self, name: str) -> None:
        process = self._stack.processes.get(name)
        if process is None or process.returncode() is None:
            return
        count, due = self._crashes.get(name, (0, 0.0))
        if due == 0.0:
            count = 0 if time.monotonic() - process.started > STEADY_S else count
            pause = min(FIRST_PAUSE_S * 2**count, LONGEST_PAUSE_S)
            self._crashes[name] = (count + 1, time.monotonic() + pause)
            say(f"{name} ended with code {process.returncode()}; starting it again in {pause:.0f} s (log: {process.log})")
        elif time.monotonic() >= due:
            self._crashes[name] = (count, 0.0)
            self._restart(name)

    def _restart(self, name: str) -> None:
        try:
            self._stack.restart(name)
        except StartError as error:
            say(str(error))

    def _stop(self) -> None:
        killed = self._stack.stop(impatient=lambda: self._signals > 1)
        for name in killed:
            say(f"{name} did not end in time and was killed")
        if self._signals:
            say("stopped")
        self._home.release()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)
