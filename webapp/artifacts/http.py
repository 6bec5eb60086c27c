"""Downloads: one async response with ranges, an entity tag and a length."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open

CHUNK = 512 * 1024
RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


async def artifact_response(request: HttpRequest, artifact: Artifact, *, filename: str) -> HttpResponseBase:
    """Send the bytes of an artifact as a file; answers 206 to a single byte range, 304 to a known entity tag."""
    tag = f'"{artifact.sha256}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponse(status=304, headers={"ETag": tag})
    wanted = _range(request, artifact.size, tag)
    if wanted is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{artifact.size}"})
    first, last, partial = wanted
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        file = await sync_to_async(artifact_open)(artifact)
        response = StreamingHttpResponse(_chunks(file, first, last - first + 1))
    response.status_code = 206 if partial else 200
    if partial:
        response["Content-Range"] = f"bytes {first}-{last}/{artifact.size}"
    response["Content-Length"] = str(last - first + 1)
    response["Content-Type"] = "application/octet-stream"
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    response["ETag"] = tag
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


def _range(request: HttpRequest, size: int, tag: str) -> tuple[int, int, bool] | None:
    """Return (first, last, partial), or None for a range that cannot be satisfied."""
    match = RANGE.match(request.headers.get("Range", ""))
    whole = (0, size - 1, False)
    if match is None or request.headers.get("If-Range", tag) != tag or match.groups() == ("", ""):
        return whole
    start, end = match.groups()
    if start == "":
        first, last = max(0, size - int(end)), size - 1
    else:
        first, last = int(start), min(int(end), size - 1) if end else size - 1
    return (first, last, True) if first <= last and first < size else None


async def _chunks(file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    try:
        await sync_to_async(file.seek)(first)
        left = length
        while left > 0:
            chunk = await sync_to_async(file.read)(min(CHUNK, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    finally:
        file.close()
