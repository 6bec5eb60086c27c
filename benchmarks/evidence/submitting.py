"""What an evidence run asks of a running site, as a user's terminal would; each step once, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def arguments(description: str | None) -> ArgumentParser:
    """Return a parser for `--data` and `--access`."""
    home = Path(os.environ.get("PARETOBOX_HOME") or ROOT / ".paretobox")
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PARETOBOX_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--access", type=Path, default=home / "access.json")
    return parser


def once(notes: Path, name: str, step: Callable[[], str]) -> str:
    """Do a step once and remember its suite, so that a second run goes on with it."""
    known = json.loads(notes.read_text()) if notes.exists() else {}
    if name not in known:
        known[name] = step()
        notes.write_text(json.dumps(known))
    return known[name]


def import_archive(access: Path, archive: Path, *, name: str, class_names: str = "") -> None:
    """Upload a data set and wait until it is one; a second time gives the same version."""
    corrected = ["--names", class_names] if class_names else []
    paretobox(access, "import", str(archive), "--name", name, *corrected, "--watch")


def submit(
    access: Path, *, dataset: str, models: Sequence[str], minutes: float, input_size: int, key: str, more: Sequence[str] = ()
) -> str:
    """Queue the pipeline of some models and return its suite; a second time with the same key gives the same suite.

    `more` are further words of the command.
    """
    chosen = [word for model in models for word in ("--model", model)]
    sizes = ["--minutes", str(minutes), "--input-size", str(input_size)]
    return paretobox(access, "submit", *chosen, "--dataset", dataset, *sizes, *more, "--key", key)["uuid"]


def paretobox(access: Path, *words: str) -> dict[str, Any]:
    """Run the client's command and return what it printed; ends here when it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "webapp.client", "--access", str(access), *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"paretobox {words[0]} ended with {done.returncode}: {done.stdout}")
    return json.loads(done.stdout)
