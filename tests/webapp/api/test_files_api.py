"""Uploads are streamed and bounded; downloads are ranged and whole."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient

from webapp.accounts.services import token_create
from webapp.artifacts.models import Artifact

pytestmark = pytest.mark.django_db(transaction=True)

BYTES = bytes(range(256)) * 5000


@pytest.fixture
def bearer(alice) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}


@pytest.fixture
def stored(client, bearer, settings, tmp_path) -> Artifact:
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path)}}}
    answer = client.post("/api/v1/uploads?name=d.tar", BYTES, content_type="application/octet-stream", headers=bearer)
    assert answer.status_code == 201, answer.content
    return Artifact.objects.get(sha256=answer.json()["sha256"])


def test_an_upload_is_stored_under_its_hash(stored):
    assert stored.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert stored.size == len(BYTES)


@pytest.mark.parametrize("name", ["d.tar.gz", "D.TGZ", "d.7z"])
def test_a_compressed_archive_is_refused_before_it_is_stored(client, bearer, name):
    answer = client.post(f"/api/v1/uploads?name={name}", BYTES, content_type="application/octet-stream", headers=bearer)
    assert answer.status_code == 422
    assert f"'{name}' is a compressed archive, which no job reads; pack the folder as a .zip or plain .tar" in answer.json()["detail"]
    assert not Artifact.objects.exists()


def test_an_upload_over_the_limit_is_413_and_leaves_nothing(client, bearer, settings):
    settings.UPLOAD_MAX_BYTES = 1000
    answer = client.post("/api/v1/uploads?name=d.tar", BYTES, content_type="application/octet-stream", headers=bearer)
    assert answer.status_code == 413 and "1000" in answer.json()["detail"]
    assert not Artifact.objects.exists()


def test_an_upload_needs_a_token(client):
    assert client.post("/api/v1/uploads?name=d.tar", BYTES, content_type="application/octet-stream").status_code == 401


def download(stored: Artifact, **headers: str):
    """The view is asynchronous; it runs in a thread of its own, because Playwright's loop may hold this one."""

    async def fetch():
        response = await AsyncClient().get(f"/artifacts/{stored.sha256}/d.tar", headers=headers)
        content = b"".join([chunk async for chunk in response.streaming_content]) if response.streaming else response.content
        await sync_to_async(connections.close_all)()
        return response, content

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(fetch())).result()


def test_a_download_gives_the_bytes_with_length_tag_and_name(stored):
    response, content = download(stored)
    assert response.status_code == 200 and content == BYTES
    assert response["Content-Length"] == str(len(BYTES))
    assert response["ETag"] == f'"{stored.sha256}"'
    assert 'filename="d.tar"' in response["Content-Disposition"]


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-9", BYTES[:10]), ("bytes=1000-", BYTES[1000:]), ("bytes=-7", BYTES[-7:]), ("bytes=5-99999999", BYTES[5:])],
)
def test_a_range_gives_that_part(stored, wanted, part):
    response, content = download(stored, Range=wanted)
    assert response.status_code == 206 and content == part
    assert response["Content-Range"].endswith(f"/{len(BYTES)}")


def test_a_range_beyond_the_end_is_416(stored):
    response, _ = download(stored, Range="bytes=99999999-")
    assert response.status_code == 416


def test_a_known_tag_is_304(stored):
    response, content = download(stored, **{"If-None-Match": f'"{stored.sha256}"'})
    assert response.status_code == 304 and content == b""


def test_an_unknown_hash_is_404(client):
    assert client.get(f"/artifacts/{'0' * 64}/d.tar").status_code == 404
