"""Readers of environment variables that refuse bad values, and of the machine's own mark."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def text(name: str, default: str | None = None) -> str:
    """Return the variable, or the default; without either, refuse to start."""
    value = os.environ.get(name, default)
    if value is None or (value == "" and default is None):
        raise ImproperlyConfigured(f"{name} is not set; set it in the environment (deploy/env.example lists every variable)")
    return value


def boolean(name: str, default: bool) -> bool:
    """Return the variable as a boolean; accepts 1/0, true/false, yes/no, on/off."""
    value = os.environ.get(name)
    if value is None or value == "":
        return default
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in known:
        raise ImproperlyConfigured(f"{name} is {value!r}; use one of {', '.join(known)}")
    return known[value.lower()]


def integer(name: str, default: int) -> int:
    """Return the variable as a whole number."""
    value = os.environ.get(name) or str(default)
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}; use a whole number") from None


def words(name: str, default: str) -> list[str]:
    """Return the variable's comma-separated words."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def folder(name: str, default: Path) -> Path:
    """Return the variable as an absolute path."""
    return Path(os.environ.get(name) or default).expanduser().absolute()


def folders(name: str) -> list[Path]:
    """Return the variable's absolute paths, separated as in PATH; empty by default."""
    found = [Path(part) for part in os.environ.get(name, "").split(os.pathsep) if part.strip()]
    for path in found:
        if not path.is_absolute():
            raise ImproperlyConfigured(f"{name} names '{path}'; use absolute paths, separated by '{os.pathsep}'")
    return found


def running_kernel() -> str:
    """Return the mark of this machine's running kernel, the same in all its containers; empty where the system has none."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
