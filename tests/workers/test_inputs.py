"""Inputs are copied once, checked at each use, and pruned by age."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.files.storage import storages

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_put_stream
from workers.inputs import InputCache, InputMissing, Interrupted

pytestmark = pytest.mark.django_db


def stored(content: bytes) -> Artifact:
    return artifact_put_stream(chunks=[content], kind="dataset", name="a.tar", max_bytes=10_000)


def provide(cache: InputCache, sha256: str, into: Path, *, interrupted=lambda: False) -> Path:
    return cache.provide(sha256, into=into, interrupted=interrupted)


def test_an_input_comes_from_the_storage_once_and_then_from_the_cache(tmp_path):
    cache, artifact = InputCache(tmp_path / "cache"), stored(b"content")
    assert provide(cache, artifact.sha256, tmp_path / "one").read_bytes() == b"content"
    storages["default"].delete(artifact.storage_key)
    path = provide(cache, artifact.sha256, tmp_path / "two")
    assert path == tmp_path / "two" / artifact.sha256 and path.read_bytes() == b"content"


def test_a_copy_that_went_bad_is_fetched_again(tmp_path):
    cache, artifact = InputCache(tmp_path / "cache"), stored(b"content")
    provide(cache, artifact.sha256, tmp_path / "one").unlink()
    (cache.folder / artifact.sha256).write_bytes(b"conXent")
    assert provide(cache, artifact.sha256, tmp_path / "one").read_bytes() == b"content"


def test_missing_bytes_are_told_with_their_name(tmp_path):
    cache, artifact = InputCache(tmp_path / "cache"), stored(b"content")
    with pytest.raises(InputMissing, match="is not stored any more; upload it again"):
        provide(cache, "0" * 64, tmp_path / "one")
    storages["default"].delete(artifact.storage_key)
    with pytest.raises(InputMissing, match=r"the bytes of 'a.tar' .* are gone"):
        provide(cache, artifact.sha256, tmp_path / "one")
    assert not list(cache.folder.iterdir())


def test_wrong_bytes_in_the_storage_are_refused(tmp_path):
    cache, artifact = InputCache(tmp_path / "cache"), stored(b"content")
    Path(storages["default"].path(artifact.storage_key)).write_bytes(b"others")
    with pytest.raises(InputMissing, match="holds other bytes"):
        provide(cache, artifact.sha256, tmp_path / "one")
    assert not list(cache.folder.iterdir())


def test_fetching_ends_when_the_job_is_cancelled(tmp_path):
    cache, artifact = InputCache(tmp_path / "cache"), stored(b"content")
    with pytest.raises(Interrupted):
        provide(cache, artifact.sha256, tmp_path / "one", interrupted=lambda: True)
    assert not list(cache.folder.iterdir())


def test_what_was_not_used_for_longest_is_removed_first(tmp_path):
    cache = InputCache(tmp_path / "cache", most_bytes=25)
    old, middle, young = (stored(content * 10) for content in (b"a", b"b", b"c"))
    for age, artifact in ((300, old), (200, middle), (100, young)):
        provide(cache, artifact.sha256, tmp_path / "one").unlink()
        os.utime(cache.folder / artifact.sha256, (1_000_000 - age,) * 2)
    unpacked = cache.unpacked / "digest"
    unpacked.mkdir(parents=True)
    (unpacked / "image.png").write_bytes(b"x" * 30)
    cache.prune()
    assert {path.name for path in cache.folder.iterdir()} == {middle.sha256, young.sha256}
    assert not unpacked.exists()
