"""Images as pages show them: scaled to a few widths, in a form that every browser knows, kept on disk up to a size."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from django.conf import settings
from PIL import Image, ImageOps

from detection_core.data.dataset import DECODE_ERRORS, IMAGE_FORMATS
from webapp.datasets.archive import StoredImage, member_bytes

WIDTHS = (320, 640, 1280)
SHOWN_BY_BROWSERS = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp"})
QUALITY = 86
ORIENTATION = 0x0112
TOUCH_AGAIN_S = 3600
# Decoding takes memory by the size of the original: only so many at once in one process.
_decoding = threading.BoundedSemaphore(2)


class Unreadable(Exception):
    """The stored bytes are no picture that can be shown."""


@dataclass(frozen=True)
class ServedImage:
    """Bytes to send."""

    content: bytes
    content_type: str


def served_image(archive_sha256: str, image: StoredImage, *, width: int | None) -> ServedImage:
    """Return an image as it was imported, or, with a `width` out of WIDTHS, as a JPEG no wider than that.

    One that is no wider anyway comes as it was imported. What browsers do not show (TIFF) becomes a PNG or JPEG.

    Raises:
        FileNotFoundError: the stored .tar is gone.
        Unreadable: the bytes cannot be decoded.
    """
    original = image.content_type or ""
    if original in SHOWN_BY_BROWSERS and (width is None or image.width <= width):
        return ServedImage(_original(archive_sha256, image), original)
    content_type = "image/png" if width is None else "image/jpeg"
    cache = ScaledImages(settings.SCALED_IMAGES_DIR, most_bytes=settings.SCALED_IMAGES_BYTES)
    name = f"{image.sha256}-{width or 'whole'}"
    if (kept := cache.get(name)) is not None:
        return ServedImage(kept, content_type)
    content = scaled(_original(archive_sha256, image), size=_size(image, width), form="PNG" if width is None else "JPEG")
    cache.put(name, content)
    return ServedImage(content, content_type)


def scaled(content: bytes, *, size: tuple[int, int], form: str) -> bytes:
    """Return a picture upright, as the detectors get it (RGB), at most as large as `size` (width, height), as JPEG or PNG.

    Raises:
        Unreadable: the bytes cannot be decoded.
    """
    try:
        with _decoding, Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as picture:
            picture.draft("RGB", size if _rows_are_rows(picture) else size[::-1])
            shown = cast(Image.Image, ImageOps.exif_transpose(picture)).convert("RGB")
            shown.thumbnail(size, reducing_gap=2.0)
    except DECODE_ERRORS as error:
        raise Unreadable(str(error)) from None
    target = io.BytesIO()
    shown.save(target, form, **({"quality": QUALITY, "optimize": True} if form == "JPEG" else {}))
    return target.getvalue()


class ScaledImages:
    """A folder of scaled images by name, the longest unused removed first where they grow beyond `most_bytes`.

    A folder that cannot be written is no failure: the image is then made each time.
    """

    _written: dict[Path, int] = {}  # bytes written since the folder was last looked through
    _pruning = threading.Lock()

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def get(self, name: str) -> bytes | None:
        """Return what is kept under `name`."""
        path = self._path(name)
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > TOUCH_AGAIN_S:
                os.utime(path)
        except OSError:
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep `content`; the file appears whole, by rename."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=path.parent, prefix="part-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(part).replace(path)
            finally:
                Path(part).unlink(missing_ok=True)
        except OSError:
            return
        written = self._written.get(self.folder, self._most_bytes) + len(content)  # a fresh process looks once
        self._written[self.folder] = written
        if written > self._most_bytes // 20:
            self._written[self.folder] = 0
            self.prune()

    def prune(self) -> None:
        """Remove what was not used for longest until the rest fits."""
        if not self._pruning.acquire(blocking=False):
            return
        try:
            found = []
            for path in self.folder.glob("*/*"):
                with suppress(OSError):  # another process may remove it meanwhile
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= self._most_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size
        finally:
            self._pruning.release()

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name


def _original(archive_sha256: str, image: StoredImage) -> bytes:
    return member_bytes(archive_sha256, offset=image.offset, size=image.size)


def _size(image: StoredImage, width: int | None) -> tuple[int, int]:
    if width is None or image.width <= width:
        return image.width, image.height
    return width, max(1, round(image.height * width / image.width))


def _rows_are_rows(picture: Image.Image) -> bool:
    """Tell whether the file's rows are the rows that are shown; else its EXIF tag turns it by a quarter."""
    return picture.getexif().get(ORIENTATION, 1) < 5
