"""The embedded stack: `python -m deploy.local up` serves, `python -m deploy.local demo` runs the starter benchmark as well."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deploy.local.stack import ROOT
from deploy.local.supervisor import Options, Supervisor


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run the supervisor until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description="Postgres, Valkey, the site and one worker on this machine."
    )
    parser.add_argument("command", choices=("up", "demo"))
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("PARETOBOX_HOME") or ROOT / ".paretobox"), help="state folder")
    parser.add_argument("--port", type=_port, default=_port(os.environ.get("PORT") or "8000"), help="port of the site on 127.0.0.1")
    parser.add_argument("--exit", action="store_true", help="stop when the benchmark has ended (demo)")
    options = parser.parse_args(arguments)
    demo = options.command == "demo"
    return Supervisor(Options(home=options.home, port=options.port, demo=demo, exit_after=demo and options.exit)).run()


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use a number from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
