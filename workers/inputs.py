"""Inputs of jobs: copies of stored bytes, by hash, kept between jobs up to a size."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open

CHUNK = 1 << 20
MOST_BYTES = 20 * 1000**3


class InputMissing(Exception):
    """Bytes that a job needs are not in the storage any more, or not the right ones."""


class Interrupted(Exception):
    """Fetching was told to end."""


class InputCache:
    """A folder of files named by their sha256, checked at every use, the longest unused removed first."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder / "inputs"
        self.unpacked = folder / "unpacked"
        self._most_bytes = most_bytes

    def provide(self, sha256: str, *, into: Path, interrupted: Callable[[], bool]) -> Path:
        """Return `into`/sha256 with the bytes in it.

        Raises:
            InputMissing: the storage does not hold them.
            Interrupted: `interrupted` said so meanwhile.
        """
        kept = self.folder / sha256
        if not kept.is_file() or _hash(kept, interrupted) != sha256:
            self._fetch(sha256, kept, interrupted)
        os.utime(kept)
        into.mkdir(parents=True, exist_ok=True)
        target = into / sha256
        try:
            os.link(kept, target)
        except OSError:
            shutil.copyfile(kept, target)
        return target

    def prune(self) -> None:
        """Remove what was not used for longest until the rest fits; only while no job runs."""
        for folder in (self.folder, self.unpacked):
            entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
            sizes = {path: _size(path) for path in entries}
            total = sum(sizes.values())
            for path in entries:
                if total <= self._most_bytes:
                    break
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                total -= sizes[path]

    def _fetch(self, sha256: str, kept: Path, interrupted: Callable[[], bool]) -> None:
        artifact = Artifact.objects.filter(sha256=sha256).first()
        if artifact is None:
            raise InputMissing(f"the file with the sha256 {sha256} is not stored any more; upload it again, then retry")
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="part-")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                _copy(artifact, target, interrupted)
            if (found := _hash(part, interrupted)) != sha256:
                raise InputMissing(f"the storage holds other bytes for '{artifact.name}' ({found[:12]} for {sha256[:12]}); upload it again")
            part.replace(kept)
        finally:
            part.unlink(missing_ok=True)


def _copy(artifact: Artifact, target: BinaryIO, interrupted: Callable[[], bool]) -> None:
    try:
        source = artifact_open(artifact)
    except FileNotFoundError:
        raise InputMissing(f"the bytes of '{artifact.name}' ({artifact.sha256[:12]}) are gone from the storage; upload it again") from None
    with source:
        while chunk := source.read(CHUNK):
            _go_on(interrupted)
            target.write(chunk)


def _hash(path: Path, interrupted: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            _go_on(interrupted)
            digest.update(chunk)
    return digest.hexdigest()


def _go_on(interrupted: Callable[[], bool]) -> None:
    if interrupted():
        raise Interrupted


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
