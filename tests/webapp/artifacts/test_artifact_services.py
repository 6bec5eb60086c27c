"""Stored bytes: whole or not at all, once, and removed only where nothing refers to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.core.files.storage import storages

from detection_core.schemas.base import InvalidInput
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open, artifact_put, artifact_put_stream, artifact_remove
from webapp.datasets.models import Dataset, DatasetVersion

pytestmark = pytest.mark.django_db


def put(content: bytes, *, name: str = "a.bin", max_bytes: int = 1000) -> Artifact:
    return artifact_put_stream(chunks=[content[:3], content[3:]], kind="upload", name=name, max_bytes=max_bytes)


def stored_files() -> list[Path]:
    root = Path(storages["default"].path(""))
    return [path for path in root.rglob("*") if path.is_file()]


def test_bytes_are_stored_under_their_hash_and_read_back():
    artifact = put(b"some bytes")
    digest = hashlib.sha256(b"some bytes").hexdigest()
    assert (artifact.sha256, artifact.size, artifact.storage_key) == (digest, 10, f"sha256/{digest[:2]}/{digest}")
    with artifact_open(artifact) as file:
        assert file.read() == b"some bytes"
    assert [path.name for path in stored_files()] == [digest]


def test_the_same_bytes_are_stored_once_and_keep_their_first_name():
    assert put(b"twice").pk == put(b"twice", name="other.bin").pk
    assert Artifact.objects.get().name == "a.bin"
    assert len(stored_files()) == 1


def test_a_file_with_another_hash_than_announced_is_refused_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not these")
    with pytest.raises(InvalidInput, match=r"'model.onnx' has the sha256 .*send the file again"):
        artifact_put(path=path, kind="upload", name="model.onnx", sha256="0" * 64)
    assert not Artifact.objects.exists() and not stored_files() and path.exists()


def test_a_stream_over_the_limit_is_refused_and_leaves_nothing():
    with pytest.raises(InvalidInput, match=r"'big.zip' is larger than 5 bytes"):
        put(b"123456", name="big.zip", max_bytes=5)
    assert not Artifact.objects.exists() and not stored_files()


def test_an_empty_stream_is_refused():
    with pytest.raises(InvalidInput, match="is empty"):
        put(b"")


def test_a_stream_that_breaks_leaves_nothing():
    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        artifact_put_stream(chunks=broken(), kind="upload", name="a", max_bytes=100)
    assert not Artifact.objects.exists() and not stored_files()


def test_lost_bytes_come_back_when_they_are_put_again():
    artifact = put(b"some bytes")
    storages["default"].delete(artifact.storage_key)
    put(b"some bytes")
    assert artifact_open(artifact).read() == b"some bytes"


def test_removing_takes_row_and_bytes():
    artifact = put(b"some bytes")
    assert artifact_remove(sha256=artifact.sha256)
    assert not Artifact.objects.exists() and not stored_files()
    assert not artifact_remove(sha256=artifact.sha256)


def test_bytes_that_a_row_refers_to_are_not_removed():
    artifact = put(b"some bytes")
    dataset = Dataset.objects.create(name="a")
    fields = {"number": 1, "content_hash": "0" * 64, "classes": [], "splits": {}, "report": {}, "form": "coco"}
    DatasetVersion.objects.create(dataset=dataset, artifact=artifact, **fields)
    assert not artifact_remove(sha256=artifact.sha256)
    assert artifact_open(artifact).read() == b"some bytes"
