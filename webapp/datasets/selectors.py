"""Reads of data sets: the list, one version's counts, and its images straight out of the stored .tar."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from uuid import UUID

from django.db.models import Prefetch, QuerySet

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open
from webapp.datasets.models import Dataset, DatasetVersion

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


@dataclass(frozen=True)
class ClassCount:
    """Boxes of one class in each split, in the order train, val, test."""

    number: int
    name: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Return the number of boxes over all splits."""
        return sum(self.counts)


def dataset_list() -> list[Dataset]:
    """Return every data set that has a version, newest first, each with `newest`, its newest version."""
    versions = DatasetVersion.objects.order_by("-number").select_related("artifact")
    rows = list(Dataset.objects.filter(versions__isnull=False).distinct().prefetch_related(Prefetch("versions", versions, to_attr="newest_first")))
    for dataset in rows:
        dataset.newest = dataset.newest_first[0]  # type: ignore[attr-defined]
    return sorted(rows, key=lambda dataset: dataset.newest.created_at, reverse=True)  # type: ignore[attr-defined]


def dataset_get(uuid: UUID) -> Dataset | None:
    """Return a data set by its uuid."""
    return Dataset.objects.filter(uuid=uuid).select_related("created_by").first()


def version_list(dataset: Dataset) -> list[DatasetVersion]:
    """Return a data set's versions, newest first."""
    return list(dataset.versions.select_related("artifact").order_by("-number"))


def version_choices() -> QuerySet[DatasetVersion]:
    """Return every version that a job may use, newest first."""
    return DatasetVersion.objects.select_related("dataset").order_by("-created_at", "-id")


def split_rows(version: DatasetVersion) -> list[dict[str, Any]]:
    """Return images and boxes of each split that has images."""
    found = ({"name": name, **version.splits.get(name, {"images": 0, "boxes": 0})} for name in SPLITS)
    return [row for row in found if row["images"]]


def class_counts(version: DatasetVersion) -> list[ClassCount]:
    """Return the boxes of each class by split."""
    per_split = [version.splits.get(name, {}).get("per_class", {}) for name in SPLITS]
    return [ClassCount(number, name, tuple(split.get(name, 0) for split in per_split)) for number, name in enumerate(version.classes)]


def stored_images(version: DatasetVersion, *, split: str = "") -> list[StoredImage]:
    """Return the images of a version, of one split if it is named.

    Raises:
        FileNotFoundError: the stored .tar is gone.
    """
    images = _read_archive(version.artifact_id)
    return [image for image in images if split in ("", image.split)]


def stored_image(version: DatasetVersion, number: int) -> StoredImage | None:
    """Return the image with this number, counted from 1."""
    images = _read_archive(version.artifact_id)
    return images[number - 1] if 1 <= number <= len(images) else None


def image_bytes(version: DatasetVersion, image: StoredImage) -> bytes:
    """Return an image's file as it was imported."""
    with _opened(version.artifact_id) as file:
        file.seek(image.offset)
        return file.read(image.size)


@lru_cache(maxsize=8)
def _read_archive(sha256: str) -> tuple[StoredImage, ...]:
    """Return all images of a canonical .tar. Cached by content hash, so it never goes stale."""
    with _opened(sha256) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        places = {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
        content = tar.extractfile(INDEX)
        index = json.load(content) if content else {"images": []}
    return tuple(_images(index["images"], places))


def _images(entries: list[dict[str, Any]], places: dict[str, tuple[int, int]]) -> Iterator[StoredImage]:
    for number, entry in enumerate(entries, start=1):
        offset, size = places[f"images/{entry['file']}"]
        yield StoredImage(
            number=number,
            file=entry["file"],
            width=entry["width"],
            height=entry["height"],
            split=entry["split"],
            group=entry["group"],
            sha256=entry["sha256"],
            boxes=tuple(tuple(box) for box in entry["boxes"]),
            labels=tuple(entry["labels"]),
            iscrowd=tuple(entry["iscrowd"]),
            offset=offset,
            size=size,
        )


@contextmanager
def _opened(sha256: str) -> Iterator[BinaryIO]:
    file = artifact_open(Artifact.objects.get(sha256=sha256))
    try:
        yield file
    finally:
        file.close()
