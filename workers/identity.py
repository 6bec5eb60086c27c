"""Who this worker is: its name, its process, its machine, and the folders that are its own."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from webapp import env
from webapp.hardware.selectors import lease_host

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,79}$")


@dataclass(frozen=True)
class Identity:
    """One worker process. `nonce` tells it from an earlier process of the same name."""

    name: str
    nonce: str
    host: str
    boot_id: str
    pid: int
    lanes: tuple[str, ...]
    threads: int
    home: Path

    @property
    def owner(self) -> str:
        """The name by which this process owns jobs."""
        return f"{self.name}#{self.nonce}"

    @property
    def lease_host(self) -> str:
        """The machine, as leases name it."""
        return lease_host(host=self.host, boot_id=self.boot_id)

    @property
    def folder(self) -> Path:
        """Pid files and the folders of running jobs."""
        return self.home / "workers" / self.name

    @property
    def cache(self) -> Path:
        """Copies of inputs, kept between jobs."""
        return self.home / "cache" / self.name


def read_identity() -> Identity:
    """Return who this process is, from PARETOBOX_WORKER, PARETOBOX_LANES and PARETOBOX_THREADS; refuses bad values."""
    host = socket.gethostname()
    name = env.text("PARETOBOX_WORKER", f"cpu@{host}")
    if not NAME.match(name):
        raise ImproperlyConfigured(f"PARETOBOX_WORKER is {name!r}; use at most 80 letters, digits, '.', '_', '@' and '-'")
    lanes = tuple(env.words("PARETOBOX_LANES", "cpu"))
    threads = env.integer("PARETOBOX_THREADS", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if not lanes or threads < 1:
        raise ImproperlyConfigured("PARETOBOX_LANES needs a lane and PARETOBOX_THREADS at least 1; correct them or leave them out")
    home = Path(settings.HOME)
    return Identity(name, secrets.token_hex(4), host, env.running_kernel(), os.getpid(), lanes, threads, home)
