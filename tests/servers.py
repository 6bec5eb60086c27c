"""Throwaway Postgres and Valkey for tests, where DATABASE_URL and REDIS_URL do not name servers.

As a pytest plugin (`python -m pytest -p tests.servers`) it runs before Django's settings are read, which is before any conftest.
As a command (`python -m tests.servers COMMAND ...`) it runs a command that needs settings or a database.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.home import free_port
from deploy.local.processes import Process
from deploy.local.servers import PostgresServer, ValkeyServer

TROUBLE = ("deadlock detected", "Process ", "PANIC", "No space left", "could not resize", "canceling statement")


class Servers:
    """Servers in a temporary folder, and the environment that names them."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._processes: list[tuple[Process, int]] = []

    def start(self) -> None:
        """Start what the environment does not name; set the variables."""
        folder = self._folder = Path(tempfile.mkdtemp(prefix="paretobox-test-"))
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
        os.environ.setdefault("PARETOBOX_HOME", str(folder / "home"))
        postgres_port = free_port()
        valkey_port = free_port(but_not=postgres_port)
        if not os.environ.get("DATABASE_URL"):
            postgres = PostgresServer(folder / "pg", postgres_port, secrets.token_urlsafe(12), folder / "postgres.log", durable=False)
            self._processes.append((postgres.start(), signal.SIGINT))
            os.environ["DATABASE_URL"] = postgres.url
        if not os.environ.get("REDIS_URL"):
            valkey = ValkeyServer(folder / "valkey", valkey_port, secrets.token_urlsafe(12), folder / "valkey.log", durable=False)
            self._processes.append((valkey.start(), signal.SIGTERM))
            os.environ["REDIS_URL"] = valkey.url

    def trouble(self) -> list[str]:
        """Return what Postgres wrote of its own troubles: tests cause errors on purpose, but no deadlock and no full disk."""
        log = None if self._folder is None else self._folder / "postgres.log"
        lines = log.read_text(errors="replace").splitlines() if log is not None and log.exists() else []
        return [line for line in lines if any(word in line for word in TROUBLE)]

    def stop(self) -> None:
        """Stop them and remove the folder."""
        for process, number in reversed(self._processes):
            process.stop(number, 20)
        self._processes.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


_servers = Servers()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, Any, Any]:
    """Start the servers: a wrapper runs before pytest-django's own implementation, which reads the settings."""
    _servers.start()
    return (yield)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Where tests failed, say what the database server saw."""
    if exitstatus and (lines := _servers.trouble()):
        terminalreporter.section("Postgres")
        terminalreporter.write_line("\n".join(lines[-40:]))


def pytest_unconfigure() -> None:
    """Stop the servers."""
    _servers.stop()


def main(command: list[str]) -> int:
    """Run a command with the servers."""
    _servers.start()
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        _servers.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
