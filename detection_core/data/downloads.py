"""Data sets of the catalogue that come over the network: fetched once, resumed where a fetch was cut, checked, read.

This is called inside a job only. Nothing is fetched that lies in the inputs or was fetched before.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detection_core.catalogue.specs import BuiltinDataset, Download
from detection_core.data.archives import Limits, unpack
from detection_core.data.assemble import assemble
from detection_core.data.cache import made_once
from detection_core.data.coco import find_coco, read_coco
from detection_core.data.dataset import DetectionDataset, Form
from detection_core.data.health import HealthLog
from detection_core.data.penn_fudan import read_penn_fudan
from detection_core.data.raw import RawDataset, files_under
from detection_core.data.voc import find_voc, read_voc
from detection_core.schemas.base import InvalidInput

DOWNLOADS = "catalogue"  # the folder of the cache in which what was fetched is kept
CHUNK = 1 << 20
TIMEOUT_S = 60.0
TRIES = 5
TELL_EVERY_S = 2.0
_LIMITS = Limits(max_bytes=64 << 30)
_NETWORK_ERRORS = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException)
_OPTIONS = ("seed", "keep_splits")


def _silent(fraction: float, message: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Fetching:
    """How files are fetched: kept in `folder`; taken from `inputs` where a person put them there; `tell` hears how far it is.

    `tell(fraction, message)` is called after every piece and may raise to stop; what has arrived stays for the next time.
    """

    folder: Path
    inputs: Path | None = None
    tell: Callable[[float, str], None] = _silent

    def part(self, number: int, parts: int) -> Fetching:
        """Return the same for one of several files, which tells the share of all of them that is there."""
        return replace(self, tell=lambda fraction, message: self.tell((number + fraction) / parts, message))


def load_downloaded(entry: BuiltinDataset, cache_dir: Path, options: dict[str, Any], fetching: Fetching) -> DetectionDataset:
    """Return a data set of the catalogue, fetched, unpacked under `cache_dir` and read.

    Raises:
        InvalidInput: an address cannot be reached or gives other bytes than those published (it says what to do instead), or an
            option is not known.
    """
    for key in options:
        if key not in _OPTIONS:
            raise InvalidInput(f"{entry.name} has no option '{key}'; use {' or '.join(_OPTIONS)}")
    log = HealthLog()
    parts = len(entry.downloads)
    archives = [fetch(download, fetching.part(number, parts), log) for number, download in enumerate(entry.downloads)]
    root = made_once(cache_dir / "builtin" / f"{entry.name}-files", lambda folder: _unpack_all(entry, archives, folder))
    form, raw = _read(entry, root, log)
    dataset = assemble(
        raw, root, log, name=entry.name, form=form, seed=options.get("seed", 0), keep_splits=options.get("keep_splits", False)
    )
    return replace(dataset, licence=entry.licence, source=entry.source)


def fetch(download: Download, fetching: Fetching, log: HealthLog) -> Path:
    """Return the path of a file, checked: out of the inputs, of an earlier fetch, or fetched now.

    Where nothing is published of its content its sha256 is kept beside it, told in `log`, and asked of every later fetch.

    Raises:
        InvalidInput: it cannot be had, or is not the file that was published; one sentence with the address and the remedy.
    """
    if given := _given(download, fetching.inputs):
        return _checked(given, download, fetching, log)
    fetching.folder.mkdir(parents=True, exist_ok=True)
    target = fetching.folder / download.name
    with _alone(target, fetching):
        if not target.is_file():
            _download(download, target, fetching)
    try:
        return _checked(target, download, fetching, log)
    except InvalidInput:
        target.unlink(missing_ok=True)
        raise


def _given(download: Download, inputs: Path | None) -> Path | None:
    names = [download.name, *([download.sha256] if download.sha256 else [])]
    return next((inputs / name for name in names if (inputs / name).is_file()), None) if inputs else None


@contextmanager
def _alone(target: Path, fetching: Fetching) -> Iterator[None]:
    """Wait until no other process fetches the same file."""
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                fetching.tell(0.0, f"waiting for another job that downloads {target.name}")
                time.sleep(TELL_EVERY_S)
        yield


def _download(download: Download, target: Path, fetching: Fetching) -> None:
    part = target.with_name(f"{target.name}.part")
    room = shutil.disk_usage(target.parent).free
    have = part.stat().st_size if part.exists() else 0
    if download.size and room < download.size - have:
        raise OSError(errno.ENOSPC, f"{download.size / 1e9:.1f} GB are needed, {room / 1e9:.1f} GB are free", download.name)
    for left in reversed(range(TRIES)):
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_rest(download, part, fetching):
                part.replace(target)
                return
            reason = "the connection ended before all of it was there"
        except urllib.error.HTTPError as error:
            raise _unreachable(download, f"the server answered {error.code} {error.reason}") from None
        except _NETWORK_ERRORS as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        # A network that gives nothing is not there; one that gave something is worth another try.
        if not left or not part.exists() or part.stat().st_size <= before:
            raise _unreachable(download, reason)


def _fetch_rest(download: Download, part: Path, fetching: Fetching) -> bool:
    """Fetch what is not there yet; say whether the file is whole now."""
    have = part.stat().st_size if part.exists() else 0
    if download.size and have >= download.size:
        if have == download.size:
            return True
        part.unlink()
        have = 0
    headers = {"User-Agent": "paretobox", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(download.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        part.unlink()  # what was there is more than the server has: begin again
        return _fetch_rest(download, part, fetching)
    with answer:
        have = have if answer.status == 206 else 0
        told = answer.headers.get("Content-Length")
        whole = have + int(told) if told and told.isdigit() else download.size
        if download.size and whole != download.size:
            raise _unreachable(download, f"the server offers {whole:,} bytes instead of {download.size:,}")
        with part.open("ab" if have else "wb") as file:
            return _copy(answer, file, have, whole, download, fetching)


def _copy(answer: Any, file: Any, have: int, whole: int | None, download: Download, fetching: Fetching) -> bool:
    last = 0.0
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        have += len(chunk)
        if time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            of = f" of {whole / 1e6:,.0f}" if whole else ""
            fetching.tell(have / whole if whole else 0.0, f"downloading {download.name}: {have / 1e6:,.0f}{of} MB")
    return whole is None or have == whole


def _unreachable(download: Download, reason: str) -> InvalidInput:
    return InvalidInput(f"'{download.name}' could not be downloaded from {download.url} ({reason}); {_remedy(download)}")


def _remedy(download: Download) -> str:
    return (
        f"download it where the network allows it and put it as '{download.name}' into the folder given by --inputs, or upload the data "
        "set as an archive"
    )


def _checked(path: Path, download: Download, fetching: Fetching, log: HealthLog) -> Path:
    """Return `path` if its bytes are those that were published, or that came the first time."""
    if download.size and path.stat().st_size != download.size:
        raise _differs(download, f"{path.stat().st_size:,} bytes", f"{download.size:,}")
    wanted = download.sha256 or download.md5
    fetching.tell(1.0, f"checking {download.name}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False) if download.md5 else hashlib.sha256()).hexdigest()
    if wanted is None:
        wanted = _recorded(found, download, fetching)
        action = f"its sha256 {found} was recorded; a later download has to have the same"
        log.add("checksum_not_published", download.name, f"no checksum of {download.url} is published", action)
    if found != wanted:
        raise _differs(download, f"the {'md5' if download.md5 else 'sha256'} {found}", wanted)
    return path


def _recorded(found: str, download: Download, fetching: Fetching) -> str:
    """Return the sha256 of the first download; `found` where this is the first."""
    fetching.folder.mkdir(parents=True, exist_ok=True)
    record = fetching.folder / f"{download.name}.sha256"
    if not record.is_file():
        part = record.with_name(f"{record.name}.{os.getpid()}.part")
        part.write_text(found)
        part.replace(record)
    return record.read_text().strip()


def _differs(download: Download, found: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"'{download.name}' of {download.url} has {found} where {wanted} is right, so it is damaged or another file; try once more, or "
        f"{_remedy(download)}"
    )


def _unpack_all(entry: BuiltinDataset, archives: list[Path], folder: Path) -> None:
    wanted = re.compile(entry.keep)
    for number, archive in enumerate(archives, start=1):
        unpack(archive, folder / str(number), limits=_LIMITS, keep=lambda name: bool(wanted.search(name)))


def _read(entry: BuiltinDataset, root: Path, log: HealthLog) -> tuple[Form, RawDataset]:
    files = list(files_under(root))
    if entry.reader == "coco":
        return "coco", read_coco(find_coco(root, files, log) or _nothing(entry), files, log)
    if entry.reader == "voc":
        return "voc", _listed(read_voc(root, find_voc(root, files, log) or _nothing(entry), files, log), entry, log)
    return "builtin", read_penn_fudan(root, files, log)


def _listed(raw: RawDataset, entry: BuiltinDataset, log: HealthLog) -> RawDataset:
    """Keep the images that the lists of the detection task name: VOC 2012 labels others for other tasks, and not completely."""
    listed = [image for image in raw.images if image.split]
    if loose := len(raw.images) - len(listed):
        log.add("unlisted_image", entry.name, f"{loose} images are in no list of ImageSets/Main", "they were left out")
    return RawDataset(raw.classes, listed)


def _nothing(entry: BuiltinDataset) -> Any:
    names = " and ".join(download.name for download in entry.downloads)
    raise InvalidInput(f"{names} hold no annotations of {entry.name}; give the published files")
