"""Bytes in and out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from ninja import Router, Status
from ninja.errors import HttpError

from webapp.api.auth import ACT, READ, caller
from webapp.api.schemas import Problem, UploadOut
from webapp.artifacts.http import artifact_response
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import COMPRESSED, artifact_put_stream

router = Router()
CHUNK = 1024 * 1024


@router.post("/uploads", auth=ACT, response={201: UploadOut, 413: Problem, 422: Problem}, operation_id="upload")
def upload(request: HttpRequest, name: str) -> Status:
    """Store the request's body: a .zip or .tar with a data set. Send the bytes as they are, with a Content-Length."""
    if name.lower().endswith(COMPRESSED):
        raise HttpError(422, f"'{name[:200]}' is a compressed archive, which no job reads; pack the folder as a .zip or plain .tar")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if int(length) > settings.UPLOAD_MAX_BYTES:
        raise HttpError(413, f"the file has {length} bytes; at most {settings.UPLOAD_MAX_BYTES} are taken, so leave out what is not needed")
    artifact = artifact_put_stream(
        chunks=_body(request), kind="upload", name=name[:200], user=caller(request), max_bytes=settings.UPLOAD_MAX_BYTES
    )
    return Status(201, UploadOut(sha256=artifact.sha256, size=artifact.size, name=artifact.name))


def _body(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK):
        yield chunk


@router.get("/artifacts/{sha256}", auth=READ, response={200: Any, 404: Problem}, operation_id="artifact")
async def artifact(request: HttpRequest, sha256: str) -> HttpResponseBase:
    """Download stored bytes by their hash; single ranges are answered."""
    row = await Artifact.objects.filter(sha256=sha256).afirst()
    if row is None:
        raise HttpError(404, "no stored file has this hash")
    return await artifact_response(request, row, filename=row.name)
