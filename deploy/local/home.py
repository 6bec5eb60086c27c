"""The folder that holds everything one installation keeps: data, logs, secrets and the lock of the running supervisor."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.errors import StartError

WAIT_FOR_OLD_PROCESSES_S = 30.0
LOG_LIMIT_BYTES = 20 * 1024 * 1024


class Home:
    """Paths below PARETOBOX_HOME, the stored secrets and ports, and the lock.

    The lock is one flock on `lock`. The four processes of the stack inherit it, so it is free again only when the supervisor and all
    of them are gone, however they ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.postgres = self.path / "pg"
        self.valkey = self.path / "valkey"
        self.logs = self.path / "logs"
        self.access = self.path / "access.json"
        self.state = self.path / "state.json"
        self._lock_file = self.path / "lock"
        self.lock_fd = -1

    def take(self, wait: Callable[[float], None] = time.sleep, say: Callable[[str], None] = print) -> None:
        """Make the folder and take its lock.

        Raises:
            StartError: another supervisor uses the folder, or it cannot be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.lock_fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"{self.path} cannot be written ({error.strerror}); set PARETOBOX_HOME to a folder of yours") from error
        self._wait_for_lock(wait, say)
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let go of the lock."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def log(self, name: str) -> Path:
        """Return the path of a log, an overlong one having been put aside first."""
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    def load_state(self) -> dict[str, Any]:
        """Return stored secrets and ports; what is missing is made up and stored."""
        state = read_json(self.state)
        fresh = {
            "secret_key": secrets.token_urlsafe(50),
            "postgres_password": secrets.token_urlsafe(24),
            "valkey_password": secrets.token_urlsafe(24),
        }
        state = {**fresh, **state}
        state["postgres_port"] = free_port(state.get("postgres_port"))
        state["valkey_port"] = free_port(state.get("valkey_port"), but_not=state["postgres_port"])
        write_private(self.state, json.dumps(state, indent=2) + "\n")
        return state

    def _wait_for_lock(self, wait: Callable[[float], None], say: Callable[[str], None]) -> None:
        deadline = time.monotonic() + WAIT_FOR_OLD_PROCESSES_S
        said = False
        while not self._try_lock():
            holder = os.pread(self.lock_fd, 20, 0).decode() or "?"
            if _is_supervisor(holder):
                url = read_json(self.access).get("url", "")
                self.release()
                raise StartError(
                    f"Paretobox already runs on {self.path} (process {holder}, {url}); use it, stop it, "
                    "or set PARETOBOX_HOME to another folder"
                )
            if time.monotonic() > deadline:
                self.release()
                raise StartError(f"processes of an earlier start still use {self.path}; end them (logs are in {self.logs})")
            if not said:
                say("waiting for the processes of an earlier start to end")
                said = True
            wait(0.1)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds, {} where there is none.

    Raises:
        StartError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise StartError(f"{path} is not valid JSON ({error}); mend it or move it away") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on 127.0.0.1:port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(wanted: int | None = None, but_not: int | None = None) -> int:
    """Return `wanted` if it is free, else any free port of the loopback interface."""
    if wanted and port_is_free(wanted):
        return wanted
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port != but_not:
            return port


def _is_supervisor(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, ProcessLookupError):
        return False
    return True
