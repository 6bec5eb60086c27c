"""Uploads from the browser: to disk as they arrive, and no further than the limit."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.http import HttpRequest

from webapp.templatetags.show import bytesize


class LimitedUploadHandler(TemporaryFileUploadHandler):
    """Writes every file to the upload folder; gives up once the request holds more than UPLOAD_MAX_BYTES of files."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write a piece, or stop."""
        self._received += len(raw_data)
        if self._received > settings.UPLOAD_MAX_BYTES:
            self._mark_too_large()
            raise StopUpload(connection_reset=False)
        super().receive_data_chunk(raw_data, start)

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, *args: Any) -> None:  # type: ignore[override]
        """Note a request that cannot fit before any of it is parsed."""
        if content_length > settings.UPLOAD_MAX_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            self._mark_too_large()

    def _mark_too_large(self) -> None:
        self.request.upload_too_large = True  # type: ignore[union-attr]


def limit_upload(request: HttpRequest) -> None:
    """Let the limited handler alone take this request's files; call before anything reads the form."""
    request.upload_handlers = [LimitedUploadHandler(request)]  # type: ignore[list-item]


def too_large(request: HttpRequest) -> str | None:
    """Return the sentence for an upload beyond the limit, None for one that fits."""
    if not getattr(request, "upload_too_large", False):
        return None
    most = bytesize(settings.UPLOAD_MAX_BYTES)
    return f"the file is larger than {most}, the most that this site takes; leave out what is not needed, or split it"
