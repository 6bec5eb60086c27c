"""What lies in a stored data set's .tar: every image's place, size, split and boxes, in arrays, so that many images take little memory."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_bytes, artifact_open

SPLITS = ("train", "val", "test")
INDEX = "dataset.json"
CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
ORDERS = ("", "most", "fewest")
MOST_KEPT = 6
_reading = Lock()
_kept: dict[str, ArchiveIndex] = {}


@dataclass(frozen=True)
class StoredImage:
    """One image of a stored data set; `offset` and `size` are its bytes within the .tar. Boxes are xyxy in pixels."""

    number: int
    file: str
    width: int
    height: int
    split: str
    group: str | None
    sha256: str
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[int, ...]
    iscrowd: tuple[bool, ...]
    offset: int
    size: int

    @property
    def content_type(self) -> str | None:
        """Return the media type by the file's ending, None for a file that is no image."""
        return CONTENT_TYPES.get(PurePosixPath(self.file).suffix.lower())


@dataclass(frozen=True, eq=False)
class ArchiveIndex:
    """All images of a canonical .tar, the n-th being number n. Boxes float64 [m, 4] xyxy of all images one after another; those of
    image n stand from `starts[n - 1]` to `starts[n]`, and so do `labels`, `iscrowd` and `areas`."""

    files: tuple[str, ...]
    groups: tuple[str | None, ...]
    hashes: tuple[str, ...]
    sides: np.ndarray  # int32 [n, 2], width and height
    splits: np.ndarray  # int8 [n], place in SPLITS
    places: np.ndarray  # int64 [n, 2], offset and size in the .tar
    starts: np.ndarray  # int64 [n + 1]
    boxes: np.ndarray
    labels: np.ndarray
    iscrowd: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def image(self, number: int) -> StoredImage:
        """Return image `number`, counted from 1; IndexError where there is none."""
        if not 1 <= number <= len(self):
            raise IndexError(number)
        place = number - 1
        mine = slice(self.starts[place], self.starts[number])
        width, height = self.sides[place].tolist()
        offset, size = self.places[place].tolist()
        return StoredImage(
            number=number,
            file=self.files[place],
            width=width,
            height=height,
            split=SPLITS[self.splits[place]],
            group=self.groups[place],
            sha256=self.hashes[place],
            boxes=tuple(tuple(box) for box in self.boxes[mine].tolist()),
            labels=tuple(self.labels[mine].tolist()),
            iscrowd=tuple(self.iscrowd[mine].tolist()),
            offset=offset,
            size=size,
        )

    def numbers(self, *, split: str = "", labels: Sequence[int] | None = None, order: str = "") -> np.ndarray:
        """Return the numbers of the images of a split that have a box of one of `labels`, all by default.

        `order` is "" (as stored), "most" or "fewest" boxes first, counting those of `labels` where given; ties stand as stored.
        """
        counted = np.ones(len(self.labels), bool) if labels is None else np.isin(self.labels, labels)
        totals = np.concatenate([[0], np.cumsum(counted)])
        boxes = totals[self.starts[1:]] - totals[self.starts[:-1]]
        wanted = np.ones(len(self), bool) if split not in SPLITS else self.splits == SPLITS.index(split)
        if labels is not None:
            wanted = wanted & (boxes > 0)
        found = np.flatnonzero(wanted)
        if order in ("most", "fewest"):
            key = boxes[found] if order == "fewest" else -boxes[found]
            found = found[np.argsort(key, kind="stable")]
        return found + 1


def archive_index(sha256: str) -> ArchiveIndex:
    """Return what lies in a canonical .tar. Kept by content hash, so it never goes stale.

    Raises:
        FileNotFoundError: the stored .tar is gone.
    """
    known = _kept.get(sha256)
    if known is None:
        with _reading:  # one thread reads, the others find it read
            known = _kept.get(sha256)
            if known is None:
                known = _kept[sha256] = _read_archive(sha256)
                while len(_kept) > MOST_KEPT:
                    _kept.pop(next(iter(_kept)))
    return known


def member_bytes(sha256: str, *, offset: int, size: int) -> bytes:
    """Return a part of a stored .tar."""
    return artifact_bytes(Artifact.objects.get(sha256=sha256), offset=offset, size=size)


@contextmanager
def opened(sha256: str) -> Iterator[BinaryIO]:
    """Open a stored .tar for reading."""
    file = artifact_open(Artifact.objects.get(sha256=sha256))
    try:
        yield file
    finally:
        file.close()


def _read_archive(sha256: str) -> ArchiveIndex:
    with opened(sha256) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        places = {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
        content = tar.extractfile(INDEX)
        entries = json.load(content)["images"] if content else []
    return _index(entries, places)


def _index(entries: list[dict[str, Any]], places: dict[str, tuple[int, int]]) -> ArchiveIndex:
    counts = [len(entry["labels"]) for entry in entries]
    return ArchiveIndex(
        files=tuple(entry["file"] for entry in entries),
        groups=tuple(entry["group"] for entry in entries),
        hashes=tuple(entry["sha256"] for entry in entries),
        sides=np.array([(entry["width"], entry["height"]) for entry in entries], np.int32).reshape(-1, 2),
        splits=np.array([SPLITS.index(entry["split"]) for entry in entries], np.int8),
        places=np.array([places[f"images/{entry['file']}"] for entry in entries], np.int64).reshape(-1, 2),
        starts=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        boxes=np.array([box for entry in entries for box in entry["boxes"]], np.float64).reshape(-1, 4),
        labels=np.array([label for entry in entries for label in entry["labels"]], np.int32),
        iscrowd=np.array([crowd for entry in entries for crowd in entry["iscrowd"]], bool),
        areas=np.array([area for entry in entries for area in entry["area"]], np.float64),
    )
