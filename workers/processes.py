"""Processes of the operating system: who belongs to a session, when one started, and making a whole session end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

POLL_S = 0.02


def start_time(pid: int) -> str | None:
    """Return a mark that tells a process from a later one with the same pid, or None where there is none (a zombie counts as none)."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.parent.parent.joinpath("self").exists():
            fields = stat.read_text().rsplit(")", 1)[1].split()
            return None if fields[0] in "ZX" else fields[19]
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (OSError, psutil.Error):
        return None


def session_members(session: int) -> dict[int, str]:
    """Return the living processes of a session and all that descend from them, pid to start time."""
    members: set[int] = set()
    for pid in psutil.pids():
        with suppress(OSError):
            if os.getsid(pid) == session:
                members.add(pid)
    for pid in tuple(members):
        with suppress(psutil.Error):
            members |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return {pid: mark for pid in members if (mark := start_time(pid)) is not None}


def still_alive(members: dict[int, str]) -> dict[int, str]:
    """Return those of `members` that have not ended."""
    return {pid: mark for pid, mark in members.items() if start_time(pid) == mark}


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each; those that have ended are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


Reap = Callable[[], object]


def kill_session(session: int, *, known: dict[int, str] | None = None, seconds: float = 10.0, reap: Reap = lambda: None) -> bool:
    """Kill a session, all that descends from it and what was `known` of both before, again while some live.

    `reap` is called between the rounds. Returns whether all that were seen are gone.
    """
    deadline = time.monotonic() + seconds
    seen = dict(known or {})
    while True:
        seen |= session_members(session)
        alive = still_alive(seen)
        if not alive:
            return True
        if time.monotonic() > deadline:
            return False
        send(alive, signal.SIGKILL)
        reap()
        time.sleep(POLL_S)
