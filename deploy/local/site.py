"""The start command of the site and how to tell that it is ready."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

STOP_S = 8.0


def command(port: int) -> list[str]:
    """Return the command that serves the site on 127.0.0.1:port; open streams end within 3 s of a stop."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "3", "--no-access-log", "--log-level", "info"]
    return [sys.executable, "-m", "uvicorn", "webapp.asgi:application", *options]


def ready(url: str) -> bool:
    """Tell whether /readyz answers 200, that is whether the site reaches its database and every migration is applied."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (OSError, urllib.error.HTTPError):
        return False


def why_not_ready(url: str) -> str:
    """Return what /readyz says is missing."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return "ready"
    except urllib.error.HTTPError as error:
        text = error.read(500).decode(errors="replace").strip()
        try:
            return json.dumps(json.loads(text))
        except json.JSONDecodeError:
            return f"HTTP {error.code}"
    except OSError as error:
        return str(error)
