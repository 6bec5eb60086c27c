"""A request's body is refused before it is taken in, by what it announces and by what it sends."""

from __future__ import annotations

import asyncio
import json

import pytest

from webapp.middleware import AROUND_A_FILE, BodyLimit


@pytest.fixture(autouse=True)
def small(settings):
    """Make the limits small enough to try."""
    settings.UPLOAD_MAX_BYTES = 1000
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100


async def _application(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"taken"})


def _request(path, chunks, *, announced=None):
    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    waiting = [{"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)} for number, chunk in enumerate(chunks)]
    sent, asked = [], []

    async def receive():
        asked.append(1)
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(BodyLimit(_application)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], len(asked)


def test_a_body_that_announces_too_much_is_refused_unread():
    status, body, asked = _request("/datasets/new", [b"x"], announced=1001 + AROUND_A_FILE)
    assert status == 413
    assert "leave out what is not needed, or split it" in json.loads(body)["problems"][0]
    assert asked == 0


def test_a_body_that_announces_nothing_is_counted():
    chunk = b"x" * 600_000
    status, _, asked = _request("/datasets/new", [chunk] * 10)
    assert status == 413
    assert asked == 2


def test_an_upload_may_be_larger_than_any_other_request():
    chunks = [b"x" * AROUND_A_FILE, b"x" * 500]
    assert _request("/api/v1/uploads", chunks)[0] == 200
    assert _request("/jobs/new", chunks)[0] == 413


def test_what_fits_goes_through():
    assert _request("/jobs/new", [b"x" * 100], announced=100)[:2] == (200, b"taken")
