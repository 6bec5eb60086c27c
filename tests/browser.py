"""Where Chromium is, for tests that drive a browser. As a command it says so, and fails without one where CI=true."""

from __future__ import annotations

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = "no Chromium was found; install it (Debian: apt-get install chromium) or set CHROMIUM to its path"


def chromium() -> str | None:
    """Return the path of Chromium: the variable CHROMIUM, else the first name on PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def launch_args() -> dict[str, object]:
    """Return what Playwright starts Chromium with; its sandbox does not work as root."""
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 or required() else ()
    return {"executable_path": chromium(), "args": [*sandbox, *QUIET]}


def required() -> bool:
    """Tell whether a missing browser is a failure rather than a skip."""
    return os.environ.get("CI", "").lower() == "true"


if __name__ == "__main__":
    if chromium() is None:
        print(MISSING + ("" if required() else "; browser tests are skipped"), file=sys.stderr)
        sys.exit(required())
