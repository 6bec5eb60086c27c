"""What stands before Django: a limit on how much of a request's body is taken in at all."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

# A form around a file: names, boundaries and the other fields.
AROUND_A_FILE = 1024 * 1024
UPLOAD_PATHS = ("/datasets/new", "/models/import", "/score", "/bundles/new", "/api/v1/uploads")


class TooLarge(Exception):
    """The body went on beyond the limit."""


class BodyLimit:
    """Answers 413 to a body that is too large, before it fills the disk: Django itself takes a whole body in before any view runs."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it sends."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        most = _most(scope["path"])
        if _announced(scope) > most:
            await _refuse(send, most)
            return
        try:
            await self.application(scope, _counted(receive, most), send)
        except TooLarge:
            await _refuse(send, most)


def _most(path: str) -> int:
    if path.startswith(UPLOAD_PATHS):
        return settings.UPLOAD_MAX_BYTES + AROUND_A_FILE
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE + AROUND_A_FILE


def _announced(scope: dict[str, Any]) -> int:
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(values[0]) if values and values[0].isdigit() else 0


def _counted(receive: Receive, most: int) -> Receive:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise TooLarge
        return message

    return counted


async def _refuse(send: Send, most: int) -> None:
    sentence = f"the request is larger than {most:,} bytes, the most that is taken here; leave out what is not needed, or split it"
    body = json.dumps({"detail": sentence, "problems": [sentence]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
