"""What an operation gets besides its spec: where to write, where its inputs are, whom to tell, when to stop."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import EventWriter
from detection_core.schemas.files import FileRole, InputFile, OutputFile

if TYPE_CHECKING:
    from detection_core.data.dataset import DetectionDataset

CHUNK = 1 << 20
DOWNLOAD_TIMEOUT_S = 60.0


class Stopped(Exception):
    """The job was told to stop and has saved what the next attempt needs (exit 75)."""


def never() -> bool:
    """Answer "go on" for ever: the `stop` of a job that nobody will interrupt."""
    return False


def default_cache() -> Path:
    """Return the folder for unpacked and downloaded files: `PARETOBOX_CACHE`, else the user's cache folder."""
    if named := os.environ.get("PARETOBOX_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "paretobox"


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class JobContext:
    """The surroundings of one job.

    `out` is the job's own folder; `inputs` a folder whose files are named by their sha256, or None; `cache` a folder that other jobs
    share; `stop` answers True once the job should save what it has and raise `Stopped`.
    """

    out: Path
    events: EventWriter
    inputs: Path | None
    cache: Path
    stop: Callable[[], bool] = never

    def resolve(self, file: InputFile) -> Path:
        """Return the path of an input file's bytes.

        Looks for `sha256` among the inputs (by name, then by content) and earlier downloads, then takes `ref` as a path,
        then `url`. Bytes that come by `ref` or `url` are checked against `sha256`.

        Raises:
            InvalidInput: the file is nowhere, or its bytes are not the ones named.
        """
        if file.sha256 and (found := self._by_hash(file.sha256)):
            return found
        if file.ref is not None:
            return _local_file(file, Path(file.ref).expanduser())
        if file.url is not None:
            return self._download(file)
        raise InvalidInput(f"{describe(file)} is not at hand; put it into the folder given by --inputs, or give 'ref' or 'url'")

    def dataset(self, file: InputFile) -> DetectionDataset:
        """Load the data set that `file` names: by content hash, or by `ref` (a built-in name, a folder or an archive).

        Raises:
            InvalidInput: it is not at hand or cannot be read.
        """
        from detection_core.data.load import load_dataset

        by_hash = self._by_hash(file.sha256) if file.sha256 else None
        if by_hash is None and file.ref is not None:
            return load_dataset(file.ref, cache_dir=self.cache)
        return load_dataset(str(by_hash or self.resolve(file)), cache_dir=self.cache, name=file.name or None)

    def emit(self, role: FileRole, path: Path) -> OutputFile:
        """Record a finished file of the job's own folder by hash and size."""
        relative = path.resolve().relative_to(self.out.resolve())
        return OutputFile(role=role, path=relative.as_posix(), sha256=file_sha256(path), size=path.stat().st_size)

    def raise_if_stopped(self) -> None:
        """Leave by `Stopped` if the job was told to stop."""
        if self.stop():
            raise Stopped

    def _by_hash(self, sha256: str) -> Path | None:
        named = [folder / sha256 for folder in (self.inputs, self._downloads) if folder is not None]
        for path in named:
            if path.is_file():
                return path
        return next((path for path in self._loose_inputs() if file_sha256(path) == sha256), None)

    def _loose_inputs(self) -> Iterator[Path]:
        """Files of the inputs folder that a person named freely."""
        if self.inputs is not None and self.inputs.is_dir():
            yield from (path for path in sorted(self.inputs.iterdir()) if path.is_file() and len(path.name) != 64)

    @property
    def _downloads(self) -> Path:
        return self.cache / "downloads"

    def _download(self, file: InputFile) -> Path:
        url = file.url or ""
        if file.sha256 is None:
            raise InvalidInput(f"{describe(file)} has a url and no sha256, so its bytes cannot be checked; add 'sha256'")
        if not url.startswith(("https://", "http://")):
            raise InvalidInput(f"the url of {describe(file)} is {url!r}; give an http or https address")
        self._downloads.mkdir(parents=True, exist_ok=True)
        target = self._downloads / file.sha256
        with _part_file(self._downloads) as part:
            found = _fetch(url, part, describe(file))
            if found != file.sha256:
                raise InvalidInput(f"{describe(file)} from {url} has the sha256 {found}; correct the url, or download the spec again")
            part.replace(target)
        return target


def describe(file: InputFile) -> str:
    """Name an input file in a message."""
    name = file.name or file.ref or (f"{file.role} of job {file.from_job}" if file.from_job else "")
    digest = f"sha256 {file.sha256[:12]}…" if file.sha256 else ""
    return f"the file {name or digest}" + (f" ({digest})" if name and digest else "")


def _local_file(file: InputFile, path: Path) -> Path:
    if not path.exists():
        raise InvalidInput(f"there is no file {path}; correct the path")
    if file.sha256 and path.is_file() and (found := file_sha256(path)) != file.sha256:
        raise InvalidInput(f"{path} has the sha256 {found}, the spec asks for {file.sha256}; give the file that the spec names")
    return path


@contextmanager
def _part_file(folder: Path) -> Iterator[Path]:
    """A temporary file beside its target; gone at the end unless it was renamed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="part-")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _fetch(url: str, target: Path, what: str) -> str:
    """Write the answer of `url` to `target` and return its sha256."""
    request = urllib.request.Request(url)
    if token := os.environ.get("PARETOBOX_TOKEN"):
        # Unredirected: a redirect to a storage host must not carry the token there.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as answer, target.open("wb") as file:
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        _refuse_download(what, url, f"the server answered {error.code} {error.reason}", error.code in (401, 403))
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        _refuse_download(what, url, str(getattr(error, "reason", error)), False)
    return digest.hexdigest()


def _refuse_download(what: str, url: str, reason: str, needs_token: bool) -> NoReturn:
    remedy = "set PARETOBOX_TOKEN to a token of that server" if needs_token else "check the address and the network"
    raise InvalidInput(f"{what} could not be fetched from {url}: {reason}; {remedy}, or put the file into the --inputs folder")
