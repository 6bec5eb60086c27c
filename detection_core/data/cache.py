"""Folders that are made once and kept: they appear by rename when complete, so a reader never sees half of one."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_LEFT_BEHIND_S = 6 * 3600


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`; where it does not exist yet, let `make` fill a temporary folder beside it and rename that.

    Two processes may do so at once: the first to finish wins. If `make` raises, nothing stays. What a killed process left behind is
    removed by a later call, after six hours.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        make(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _remove_left_behind(parent: Path) -> None:
    for path in parent.glob(".making-*"):
        try:
            old = time.time() - path.stat().st_mtime > _LEFT_BEHIND_S
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
