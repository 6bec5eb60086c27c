"""Reads of data sets: the list, one version's counts, and its images straight out of the stored .tar."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from uuid import UUID

from django.db.models import Count, QuerySet

from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open
from webapp.datasets.models import Dataset, DatasetVersion

SPLITS = ("train", "val", "test")
INDEX = "dataset.json"
COLOURS = 8
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
class DatasetRow:
    """A data set as the list shows it."""

    dataset: Dataset
    newest: DatasetVersion
    versions: int

    @property
    def images(self) -> list[tuple[str, int]]:
        """Return the images of each split."""
        return [(split, self.newest.splits.get(split, {}).get("images", 0)) for split in SPLITS]

    @property
    def boxes(self) -> int:
        """Return the boxes of all splits."""
        return sum(split.get("boxes", 0) for split in self.newest.splits.values())

    @property
    def classes(self) -> str:
        """Name the first few classes and count the rest."""
        names = self.newest.classes
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

    @property
    def problems(self) -> int:
        """Return how many problems its import found."""
        return sum(self.newest.report.get("counts", {}).values())


@dataclass(frozen=True)
class TrainedCheckpoint:
    """A checkpoint that was trained on a data set; AP is on the val split that chose it."""

    uuid: UUID
    model: str
    family: str
    role: str
    ap: float | None
    size: int
    created_at: datetime
    job: UUID
    job_title: str


@dataclass(frozen=True)
class SplitRow:
    """Counts of one split."""

    name: str
    images: int
    boxes: int

    @property
    def density(self) -> float:
        """Return the boxes an image has on average."""
        return self.boxes / self.images


@dataclass(frozen=True)
class ClassCount:
    """Boxes of one class in each split, in the order train, val, test."""

    number: int
    name: str
    counts: tuple[int, ...]

    @property
    def colour(self) -> int:
        """Return the colour slot of its boxes."""
        return self.number % COLOURS

    @property
    def total(self) -> int:
        """Return the number of boxes over all splits."""
        return sum(self.counts)


def dataset_list() -> list[DatasetRow]:
    """Return every data set that has a version, the most recently imported first."""
    newest = DatasetVersion.objects.order_by("dataset", "-number").distinct("dataset").select_related("dataset")
    numbers = dict(Dataset.objects.annotate(count=Count("versions")).values_list("pk", "count"))
    rows = [DatasetRow(version.dataset, version, numbers[version.dataset_id]) for version in newest]
    return sorted(rows, key=lambda row: row.newest.created_at, reverse=True)


def version_list(dataset: Dataset) -> list[DatasetVersion]:
    """Return a data set's versions, newest first."""
    return list(dataset.versions.select_related("artifact").order_by("-number"))


def version_choices() -> QuerySet[DatasetVersion]:
    """Return every version that a job may use, newest first."""
    return DatasetVersion.objects.select_related("dataset").order_by("-created_at", "-id")


def split_rows(version: DatasetVersion) -> list[SplitRow]:
    """Return images and boxes of each split that has images."""
    rows = [SplitRow(name, version.splits.get(name, {}).get("images", 0), version.splits.get(name, {}).get("boxes", 0)) for name in SPLITS]
    return [row for row in rows if row.images]


def class_counts(version: DatasetVersion) -> list[ClassCount]:
    """Return the boxes of each class by split."""
    per_split = [version.splits.get(name, {}).get("per_class", {}) for name in SPLITS]
    return [ClassCount(number, name, tuple(split.get(name, 0) for split in per_split)) for number, name in enumerate(version.classes)]


def checkpoints_of(version: DatasetVersion, *, limit: int = 50) -> list[TrainedCheckpoint]:
    """Return the newest checkpoints trained on a version."""
    # Results are above data sets: they are reached through the relation, never imported.
    columns = ("uuid", "model", "family", "role", "metrics__ap", "artifact__size", "created_at", "job__uuid", "job__title")
    rows = version.checkpoints.filter(role="best").order_by("-id").values_list(*columns)  # type: ignore[attr-defined]
    return [TrainedCheckpoint(*row) for row in rows[:limit]]


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
