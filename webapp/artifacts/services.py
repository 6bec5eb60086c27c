"""Writes of stored bytes: put by content, complete or not at all, and removed only where nothing refers to them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import connection, transaction
from django.db.models import ProtectedError

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact

CHUNK = 1 << 20
# Kinds of archive that no job reads; models, results files and bundles come uncompressed or as .zip too.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")


def storage_key(sha256: str) -> str:
    """Return the name of these bytes in the storage."""
    return f"sha256/{sha256[:2]}/{sha256}"


def artifact_put(*, path: Path, kind: str, name: str, user: User | None = None, sha256: str | None = None) -> Artifact:
    """Store a file; bytes that are stored already are not stored twice.

    Raises:
        InvalidInput: the bytes are not those that `sha256` names.
    """
    with path.open("rb") as file, _temporary() as part:
        found, size = _copy(iter(lambda: file.read(CHUNK), b""), part, max_bytes=None, name=name)
        if sha256 is not None and found != sha256:
            raise InvalidInput(f"'{name}' has the sha256 {found}, not {sha256} as announced; send the file again")
        return _store(part, sha256=found, size=size, kind=kind, name=name, user=user)


def artifact_put_stream(*, chunks: Iterable[bytes], kind: str, name: str, user: User | None = None, max_bytes: int) -> Artifact:
    """Store bytes as they arrive.

    Raises:
        InvalidInput: there are more than `max_bytes`, or none; nothing stays.
    """
    with _temporary() as part:
        found, size = _copy(chunks, part, max_bytes=max_bytes, name=name)
        if size == 0:
            raise InvalidInput(f"'{name}' is empty; choose the file again")
        return _store(part, sha256=found, size=size, kind=kind, name=name, user=user)


def artifact_open(artifact: Artifact) -> BinaryIO:
    """Open the bytes for reading; the caller closes. Raises FileNotFoundError where the storage has lost them."""
    return cast(BinaryIO, _storage().open(artifact.storage_key, "rb"))


def artifact_bytes(artifact: Artifact, *, offset: int, size: int) -> bytes:
    """Return a part of the bytes, and fetch no more than that. Raises FileNotFoundError where the storage has lost them."""
    bucket = getattr(_storage(), "bucket", None)
    if bucket is None or size == 0:
        with artifact_open(artifact) as file:
            file.seek(offset)
            return file.read(size)
    try:  # S3: opening a file there would fetch all of it
        found = bucket.Object(artifact.storage_key).get(Range=f"bytes={offset}-{offset + size - 1}")
    except bucket.meta.client.exceptions.NoSuchKey:
        raise FileNotFoundError(artifact.storage_key) from None
    return cast(bytes, found["Body"].read())


def artifact_remove(*, sha256: str) -> bool:
    """Remove bytes that no row protects. Returns whether they were removed."""
    with transaction.atomic():
        _lock(sha256)
        artifact = Artifact.objects.filter(sha256=sha256).first()
        if artifact is None:
            return False
        try:
            with transaction.atomic():
                artifact.delete()
        except ProtectedError:
            return False
        # Inside the transaction, under the lock: a put of the same bytes waits, then finds neither row nor file and stores them anew.
        _storage().delete(artifact.storage_key)
    return True


def _store(part: Path, *, sha256: str, size: int, kind: str, name: str, user: User | None) -> Artifact:
    key = storage_key(sha256)
    _place(part, key)
    with transaction.atomic():
        _lock(sha256)
        _place(part, key)
        # Postgres stores no NUL, and a name may come from anybody.
        fields = {"size": size, "kind": kind, "name": name[:200].replace("\x00", "\ufffd"), "storage_key": key, "created_by": user}
        artifact, _ = Artifact.objects.get_or_create(sha256=sha256, defaults=fields)
    return artifact


def _place(part: Path, key: str) -> None:
    """Bring the bytes to their place in the storage unless they are there."""
    storage = _storage()
    if storage.exists(key):
        return
    if isinstance(storage, FileSystemStorage):
        target = Path(storage.path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        _sync_folder(target.parent)
    else:
        with part.open("rb") as file:
            storage.save(key, File(file))


def _storage() -> Storage:
    """The default storage itself: `default_storage` is a lazy wrapper of no known class."""
    return storages["default"]


@contextmanager
def _temporary() -> Iterator[Path]:
    """A temporary file on the storage's own disk where it is a folder, so that a rename suffices; gone at the end unless it was renamed."""
    storage = _storage()
    folder = Path(storage.path("part")) if isinstance(storage, FileSystemStorage) else Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _copy(chunks: Iterable[bytes], target: Path, *, max_bytes: int | None, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                raise InvalidInput(f"'{name}' is larger than {max_bytes:,} bytes; send a smaller file, or split it")
            digest.update(chunk)
            file.write(chunk)
        _sync_file(file)
    return digest.hexdigest(), size


def _sync_file(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(sha256: str) -> None:
    """Hold these bytes for the rest of the transaction, against a put and a removal at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"artifact:{sha256}"])
