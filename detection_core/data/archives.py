"""Unpacking of archives that anybody may have made.

Nothing is written outside the target folder; links, devices, absolute names and `..` are refused; bytes and files are counted while they
are written, not as the archive declares them, so that a small file cannot fill the disk.
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from detection_core.data.cache import made_once
from detection_core.schemas.base import InvalidInput

_CHUNK = 1 << 20
_MAX_NAME = 1024
_MAX_DEPTH = 32
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to. Images hardly compress: more than `ratio` times the archive's size, beyond `free_bytes`, is a trap."""

    max_bytes: int = 16 << 30
    max_files: int = 1_000_000
    ratio: float = 20.0
    free_bytes: int = 64 << 20

    def allowed_bytes(self, archive_bytes: int) -> int:
        """Return how many bytes an archive of this size may unpack to."""
        return min(self.max_bytes, self.free_bytes + int(self.ratio * archive_bytes))


@dataclass(frozen=True)
class _Entry:
    """One ordinary file of an archive; `open()` gives its unpacked bytes."""

    name: str
    info: zipfile.ZipInfo | tarfile.TarInfo
    archive: zipfile.ZipFile | tarfile.TarFile

    def open(self) -> IO[bytes]:
        if isinstance(self.archive, zipfile.ZipFile):
            return self.archive.open(self.info)  # type: ignore[arg-type]
        stream = self.archive.extractfile(self.info)  # type: ignore[arg-type]
        assert stream is not None  # only ordinary files become entries
        return stream


def unpack(
    archive: Path, folder: Path, *, name: str | None = None, limits: Limits | None = None, keep: Callable[[str], bool] | None = None
) -> Path:
    """Unpack a .zip or plain .tar (told by its bytes, not its name) and return `folder`.

    The folder appears by rename when everything is there; where it exists already nothing is done.

    Args:
        name: how messages call the archive; its file name by default.
        limits: what it may unpack to.
        keep: says by its name which entry is wanted; all by default.

    Raises:
        InvalidInput: naming the archive, the entry and the remedy. Nothing is left of what was written.
    """
    return made_once(folder, lambda temporary: _unpack_into(archive, temporary, name or archive.name, limits or Limits(), keep))


def unpacked_by_hash(archive: Path, cache_dir: Path, *, name: str | None = None) -> Path:
    """Unpack an archive into a cache folder named by the archive's sha256, or return what was unpacked there before."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return unpack(archive, cache_dir / "unpacked" / digest, name=name)


def _unpack_into(archive: Path, folder: Path, name: str, limits: Limits, keep: Callable[[str], bool] | None) -> None:
    left = limits.allowed_bytes(archive.stat().st_size)
    files = 0
    try:
        for entry in _entries(archive, name):
            files += 1
            if files > limits.max_files:
                raise InvalidInput(f"archive '{name}' holds more than {limits.max_files:,} files; split the data set")
            target = folder / _safe_path(entry.name, name)
            if keep is not None and not keep(entry.name):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            left = _write(entry, target, left, name)
    except InvalidInput:  # is a ValueError too, and says it all
        raise
    except DAMAGE as error:
        raise _damaged(name, error) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidInput(
            f"archive '{name}' holds two entries of one name ({_tail(error, folder)}); pack it again without the second"
        ) from None
    except OSError as error:
        if error.errno is not None:  # of the machine; bz2 tells of damage by an OSError without a number
            raise
        raise _damaged(name, error) from None
    if not files:
        raise InvalidInput(f"archive '{name}' is empty; pack the folder with the images and their annotations")


def _entries(archive: Path, name: str) -> Iterator[_Entry]:
    if zipfile.is_zipfile(archive) and not _is_tar(archive):
        with zipfile.ZipFile(archive) as packed:
            yield from _zip_entries(packed, name)
    elif _is_tar(archive):
        with tarfile.open(archive, mode="r:") as tar:
            yield from _tar_entries(tar, name)
    elif _starts_like_zip(archive):
        raise zipfile.BadZipFile("it is cut short")
    else:
        raise InvalidInput(f"'{name}' is neither a .zip nor a plain .tar; pack the data set's folder as one of them")


def _is_tar(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(512)[257:262] == b"ustar"


def _starts_like_zip(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _zip_entries(packed: zipfile.ZipFile, name: str) -> Iterator[_Entry]:
    for info in packed.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(name, info.filename, "is a link or a device", "pack the files themselves")
        if info.flag_bits & 0x1:
            raise _refused(name, info.filename, "is encrypted", "pack without a password")
        if not info.is_dir():
            yield _Entry(info.filename, info, packed)


def _tar_entries(tar: tarfile.TarFile, name: str) -> Iterator[_Entry]:
    for info in tar:
        if info.isdir():
            continue
        if not info.isreg():
            raise _refused(name, info.name, "is a link or a device", "pack the files themselves")
        yield _Entry(info.name, info, tar)
    # tarfile stops without a word at a broken or missing header; an archive that is whole ends with a block of zeros.
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is cut short or has a broken header")


def _safe_path(entry: str, name: str) -> PurePosixPath:
    """Return where an entry may be written, relative to the target folder; InvalidInput for anything that could leave it."""
    path = PurePosixPath(entry.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise _refused(name, entry, "points outside the archive's folder", "pack with relative names and without '..'")
    if not entry.isprintable():
        shown = entry[:80].encode("unicode_escape").decode()
        raise _refused(name, shown, "has control characters or bytes that are no UTF-8 in its name", "rename it")
    lengths = [len(part.encode()) for part in path.parts]
    if not lengths or sum(lengths) > _MAX_NAME or len(lengths) > _MAX_DEPTH or max(lengths) > 255:
        raise _refused(name, entry[:80], "has no usable name", "use shorter names and fewer folders")
    return path


def _write(entry: _Entry, target: Path, left: int, name: str) -> int:
    """Write one entry and return how many bytes may still come."""
    with entry.open() as source, target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _refused(name, entry.name, "unpacks to far more than a data set of this size would", "pack the images as they are")
            out.write(chunk)
    return left


def _refused(name: str, entry: str, problem: str, remedy: str) -> InvalidInput:
    return InvalidInput(f"archive '{name}': entry '{entry}' {problem}; {remedy}")


def _damaged(name: str, error: Exception) -> InvalidInput:
    return InvalidInput(f"archive '{name}' is damaged or of an unknown kind ({error}); pack it again as a plain .zip or .tar")


def _tail(error: OSError, folder: Path) -> str:
    return str(error.filename or "").removeprefix(f"{folder}/")
