"""The processes of one installation: how each is started, waited for and stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local import site, worker
from deploy.local.errors import StartError
from deploy.local.home import Home
from deploy.local.processes import Process, death_signal
from deploy.local.servers import PostgresServer, ValkeyServer

ROOT = Path(__file__).resolve().parents[2]
SITE_READY_S = 90.0
WORKER_READY_S = 90.0

Wait = Callable[[float], None]


@dataclass
class Stack:
    """One installation's servers, site and worker.

    Args:
        home: the folder that holds its state; its lock is taken.
        port: of the site, on 127.0.0.1.
        wait: sleeps; raises StopRequested when somebody asked to stop.
    """

    home: Home
    port: int
    wait: Wait = time.sleep
    processes: dict[str, Process] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    _servers: dict[str, PostgresServer | ValkeyServer] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the site."""
        return f"http://127.0.0.1:{self.port}"

    def start_servers(self) -> None:
        """Start Postgres and Valkey, each unless the environment names a server to use instead."""
        state = self.home.load_state()
        self.environment = {
            **os.environ,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or state["secret_key"],
            "PARETOBOX_HOME": str(self.home.path),
            "SITE_URL": os.environ.get("SITE_URL") or self.url,
            "PARETOBOX_THREADS": os.environ.get("PARETOBOX_THREADS") or str(cores()),
            "PARETOBOX_LANES": os.environ.get("PARETOBOX_LANES") or worker.lanes(),
            "PYTHONUNBUFFERED": "1",
        }
        self._server("DATABASE_URL", "postgres", state)
        self._server("REDIS_URL", "valkey", state)

    def prepare(self) -> None:
        """Bring database, static files, first user and access.json up to date."""
        log = self.home.log("first-run")
        own = ["--own-database"] if "postgres" in self._servers else []
        command = [sys.executable, "-m", "deploy.local.first_run", str(self.home.access), *own]
        process = self._spawn("first run", command, log)
        self.processes["first run"] = process
        while process.returncode() is None:
            self.wait(0.1)
        del self.processes["first run"]
        if process.returncode():
            raise StartError(f"the database could not be prepared: {process.last_line()} (whole log: {log})")

    def start_site(self) -> None:
        """Start the site, without waiting."""
        self.processes["site"] = self._spawn("site", site.command(self.port), self.home.log("site"))

    def start_worker(self) -> None:
        """Start the worker, without waiting."""
        self.processes["worker"] = self._spawn("worker", worker.command(), self.home.log("worker"))

    def restart(self, name: str) -> None:
        """Start a process that ended again, with the address and the data it had."""
        if name in self._servers:
            self.processes[name] = self._servers[name].start(self.wait)
        elif name == "site":
            self.start_site()
        else:
            self.start_worker()

    def start_demo(self) -> Process:
        """Start the starter benchmark against the running site; it writes to our own output."""
        code = "import sys; from pathlib import Path; from webapp.client.demo import run_demo; sys.exit(run_demo(Path(sys.argv[1])))"
        self.processes["demo"] = self._spawn("demo", [sys.executable, "-c", code, str(self.home.access)], None)
        return self.processes["demo"]

    def await_site(self) -> None:
        """Return when the site is ready."""
        ended = time.monotonic() + SITE_READY_S
        while not site.ready(self.url):
            self.processes["site"].require_running()
            if time.monotonic() > ended:
                raise StartError(
                    f"the site is not ready after {SITE_READY_S:.0f} s: {site.why_not_ready(self.url)}; see {self.home.log('site')}"
                )
            self.wait(0.1)

    def await_worker(self) -> None:
        """Return when the worker has reported itself."""
        process = self.processes["worker"]
        ended = time.monotonic() + WORKER_READY_S
        while not worker.ready(self.environment["DATABASE_URL"], process.pid):
            process.require_running()
            if time.monotonic() > ended:
                raise StartError(f"the worker has not reported itself after {WORKER_READY_S:.0f} s; see {process.log}")
            self.wait(0.2)

    def stop(self, impatient: Callable[[], bool] = lambda: False) -> list[str]:
        """Stop all, the servers last, killing at once when `impatient`. Return the names of those that were killed."""
        order = [
            ({"demo": (signal.SIGTERM, 3.0), "first run": (signal.SIGTERM, 3.0)}),
            ({"worker": (signal.SIGTERM, worker.STOP_S), "site": (signal.SIGTERM, site.STOP_S)}),
            ({"valkey": (signal.SIGTERM, 20.0), "postgres": (signal.SIGINT, 30.0)}),
        ]
        killed: list[str] = []
        for group in order:
            killed += self._stop_group(group, impatient)
        return killed

    def _stop_group(self, group: dict[str, tuple[signal.Signals, float]], impatient: Callable[[], bool]) -> list[str]:
        started = time.monotonic()
        left = {name: self.processes.pop(name) for name in group if name in self.processes}
        for name, process in left.items():
            process.signal(group[name][0])
        killed = []
        while left:
            for name, process in list(left.items()):
                overdue = time.monotonic() - started > group[name][1] or impatient()
                if process.returncode() is None and overdue:
                    process.kill()
                    killed.append(name)
                if process.returncode() is not None:
                    del left[name]
            time.sleep(0.05 if left else 0)
        return killed

    def _server(self, variable: str, name: str, state: dict[str, Any]) -> None:
        if os.environ.get(variable):
            self.environment[variable] = os.environ[variable]
            return
        kind = PostgresServer if name == "postgres" else ValkeyServer
        data = self.home.postgres if name == "postgres" else self.home.valkey
        server = kind(
            data=data, port=state[f"{name}_port"], password=state[f"{name}_password"], log=self.home.log(name), lock_fd=self.home.lock_fd
        )
        self._servers[name] = server
        self.processes[name] = server.start(self.wait)
        self.environment[variable] = server.url

    def _spawn(self, name: str, command: list[str], log: Path | None) -> Process:
        command = [*death_signal("KILL"), *command]
        return Process(name, command, log=log, env=self.environment, folder=ROOT, lock_fd=self.home.lock_fd)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
