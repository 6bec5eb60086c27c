"""The download of a checkpoint gives the stored bytes."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponseBase
from django.test import AsyncClient

from tests.factories import make_checkpoint
from webapp.artifacts.services import artifact_put

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stored(tmp_path, settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "store")}},
    }
    file = tmp_path / "weights.safetensors"
    file.write_bytes(bytes(range(256)) * 40)
    checkpoint = make_checkpoint()
    checkpoint.artifact = artifact_put(path=file, kind="checkpoint_best", name=file.name)
    checkpoint.save()
    return checkpoint


def _get(address: str, **headers: str) -> tuple[HttpResponseBase, bytes]:
    """The view is asynchronous, so is the reading of its answer. A thread of its own, because Playwright's loop may hold this one."""

    async def fetch() -> tuple[HttpResponseBase, bytes]:
        answer = await AsyncClient().get(address, headers=headers)
        body = b"".join([chunk async for chunk in answer.streaming_content]) if answer.streaming else answer.content
        await sync_to_async(connections.close_all)()
        return answer, body

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(fetch())).result()


def test_the_bytes_are_those_that_the_hash_names(stored):
    answer, body = _get(f"/checkpoints/{stored.uuid}/download")
    assert answer.status_code == 200
    assert hashlib.sha256(body).hexdigest() == stored.artifact_id
    assert f'filename="fcos_resnet10_fpn-best-{stored.artifact_id[:8]}.safetensors"' in answer["Content-Disposition"]


def test_a_broken_download_can_go_on_where_it_ended(stored):
    answer, body = _get(f"/checkpoints/{stored.uuid}/download", Range="bytes=256-511")
    assert answer.status_code == 206
    assert body == bytes(range(256))


def test_an_unknown_checkpoint_is_not_found():
    answer, _ = _get(f"/checkpoints/{uuid.uuid4()}/download")
    assert answer.status_code == 404
