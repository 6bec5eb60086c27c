"""Images as pages show them: scaled to a few widths, in a form that every browser knows, kept on disk up to a size."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from PIL import Image, ImageOps

from detection_core.data.dataset import DECODE_ERRORS, IMAGE_FORMATS, MAX_PIXELS, eight_bit
from webapp.datasets.archive import StoredImage, member_bytes

WIDTHS = (320, 640, 1280)
SHOWN_BY_BROWSERS = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp"})
QUALITY = 86
ORIENTATION = 0x0112
TOUCH_AGAIN_S = 3600
# Decoding takes memory by the size of the original: only so many at once in one process.
_decoding = threading.BoundedSemaphore(2)
_decoding_large = threading.Lock()
LARGE_PIXELS = 25_000_000
GAP = 2.0  # a picture is shrunk by whole factors down to this many times what is wanted, and finely from there
STRIP = 32


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
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as picture, _turn(picture):
            shown = _shrunk(picture, size)
    except DECODE_ERRORS as error:
        raise Unreadable(str(error)) from None
    target = io.BytesIO()
    shown.save(target, form, **({"quality": QUALITY, "optimize": True} if form == "JPEG" else {}))
    return target.getvalue()


@contextmanager
def _turn(picture: Image.Image) -> Iterator[None]:
    """Wait for a turn to decode: two at once, and of the large ones one."""
    pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        raise Unreadable(f"{picture.width}x{picture.height} are more than {MAX_PIXELS / 1e6:g} million pixels")
    large = pixels > LARGE_PIXELS
    with _decoding, _decoding_large if large else nullcontext():
        yield


def _shrunk(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the picture upright, in RGB, at most as large as `size`."""
    turned = picture.getexif().get(ORIENTATION, 1)
    picture.draft("RGB", size[::-1] if turned >= 5 else size)
    picture.load()
    orientation = picture.getexif().get(ORIENTATION, 1)  # once it is loaded: Pillow turns a TIFF itself
    least = size[::-1] if orientation >= 5 else size
    shown = _reduced(eight_bit(picture), int(min(picture.width / least[0], picture.height / least[1]) / GAP))
    shown.getexif()[ORIENTATION] = orientation
    ImageOps.exif_transpose(shown, in_place=True)
    shown.thumbnail(size, reducing_gap=GAP)
    return shown


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    """Return a picture in RGB, its sides divided by a whole factor: strip by strip, so that a large one is in memory once, not thrice."""
    if factor < 2:
        return picture.convert("RGB")
    width, height = picture.size
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = STRIP * factor
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height))).convert("RGB")
        reduced.paste(strip.reduce(factor), (0, top // factor))
    return reduced


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
