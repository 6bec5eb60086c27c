"""A version in the form of other tools, streamed out of its stored .tar: an image at a time, beside the index of all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any, BinaryIO, cast

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from detection_core.data.writers import FORMS, ExportImage, WrittenForm, members, tar_chunks
from detection_core.schemas.base import InvalidInput
from webapp.artifacts.services import artifact_open
from webapp.datasets.archive import SPLITS, ArchiveIndex, archive_index
from webapp.datasets.models import DatasetVersion

PIECE = 256 * 1024


def form_checked(form: str) -> WrittenForm:
    """Return the form, or refuse one that nobody writes with InvalidInput."""
    if form not in FORMS:
        raise InvalidInput(f"form '{form}' is not known; use one of {', '.join(FORMS)}")
    return cast(WrittenForm, form)


def export_name(version: DatasetVersion, form: WrittenForm) -> str:
    """Return the name under which an export is saved."""
    return f"{version.dataset.name}-v{version.number}-{form}.tar".replace("/", "-")


async def export_response(version: DatasetVersion, form: WrittenForm) -> HttpResponseBase:
    """Send a version, whose data set and artifact must be loaded, as a .tar in `form`. Raises FileNotFoundError where its .tar is gone."""
    index = await sync_to_async(archive_index)(version.artifact_id)
    file = await sync_to_async(artifact_open)(version.artifact)
    # A long download needs the database no more, and others do.
    await sync_to_async(close_old_connections)()
    response = StreamingHttpResponse(_in_threads(export_chunks(version, index, file, form)), content_type="application/x-tar")
    response["Content-Disposition"] = content_disposition_header(True, export_name(version, form)) or "attachment"
    response["Cache-Control"] = "private, no-store"
    return response


def export_chunks(version: DatasetVersion, index: ArchiveIndex, file: BinaryIO, form: WrittenForm) -> Generator[bytes]:
    """Yield the bytes of the export in pieces of about PIECE; closes `file`."""
    places = dict(zip(index.files, index.places.tolist(), strict=True))

    def read(image: ExportImage) -> bytes:
        offset, size = places[image.file]
        file.seek(offset)
        return file.read(size)

    told = {"name": version.dataset.name, "licence": version.dataset.licence, "source": version.dataset.source}
    content = members(form, classes=version.classes, images=_Images(index), **told)
    with file:
        yield from _joined(tar_chunks(content, read))


class _Images(Sequence[ExportImage]):
    """The images of an index, each made when it is asked for; the arrays of its boxes are parts of the index's own."""

    def __init__(self, index: ArchiveIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, place: Any) -> Any:
        index = self._index
        mine = slice(index.starts[place], index.starts[place + 1])
        width, height = index.sides[place].tolist()
        return ExportImage(
            file=index.files[place],
            width=width,
            height=height,
            split=SPLITS[index.splits[place]],
            boxes=index.boxes[mine],
            labels=index.labels[mine],
            iscrowd=index.iscrowd[mine],
            area=index.areas[mine],
        )

    def __iter__(self) -> Iterator[ExportImage]:
        return map(self.__getitem__, range(len(self)))


def _joined(chunks: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def _in_threads(chunks: Generator[bytes]) -> AsyncIterator[bytes]:
    """A plain iterator would be read to its end before anything is sent: Django does so with one under ASGI."""
    try:
        while (chunk := await sync_to_async(_next)(chunks)) is not None:
            yield chunk
    finally:
        await sync_to_async(chunks.close)()


def _next(chunks: Generator[bytes]) -> bytes | None:
    return next(chunks, None)
