"""A job as a process: how it hears that it should stop, and how it makes sure not to outlive the one who started it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
GRACE_S = 5.0
EXIT_ABANDONED = 75


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield a flag that SIGTERM or Ctrl-C sets, so that the job can save its state; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hold_lifeline(stop: threading.Event, *, grace_s: float = GRACE_S) -> None:
    """Watch standard input: at its end the parent is gone, so `stop` is set and after `grace_s` the process ends, with its whole
    group where it leads one. On Linux the kernel also sends SIGTERM when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(stop, grace_s), name="lifeline", daemon=True).start()


def _watch(stop: threading.Event, grace_s: float) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()
    time.sleep(grace_s)
    if os.getpgid(0) == os.getpid():
        # Helpers that the job started must not stay behind; this ends the process itself as well.
        os.killpg(0, signal.SIGKILL)
    os._exit(EXIT_ABANDONED)


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send all that is written to standard output to standard error, also what libraries in C write: stdout is kept for the answer."""
    sys.stdout.flush()
    try:
        saved, target = os.dup(1), sys.stderr.fileno()
    except (OSError, io.UnsupportedOperation):
        saved, target = -1, -1
    if saved >= 0:
        os.dup2(target, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved >= 0:
            os.dup2(saved, 1)
            os.close(saved)
