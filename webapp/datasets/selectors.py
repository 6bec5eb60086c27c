"""Reads of data sets: the list, one version's counts, and its images straight out of the stored .tar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from webapp.datasets.archive import SPLITS, ArchiveIndex, StoredImage, archive_index, member_bytes
from webapp.datasets.models import Dataset, DatasetVersion

COLOURS = 8


@dataclass(frozen=True)
class DatasetRow:
    """A data set as the list shows it."""

    dataset: Dataset
    newest: DatasetVersion
    versions: int
    previews: int

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
    """Return every data set that has a version, the most recently imported first; a preview stands for one that has nothing frozen."""
    newest = DatasetVersion.objects.order_by("dataset", "-frozen", "-number").distinct("dataset").select_related("dataset")
    newest = newest.defer("statistics", "leaks", "edits")
    waiting = Count("versions", filter=Q(versions__frozen=False))
    numbers = {
        pk: (versions, previews)
        for pk, versions, previews in Dataset.objects.annotate(count=Count("versions"), previews=waiting).values_list(
            "pk", "count", "previews"
        )
    }
    rows = [DatasetRow(version.dataset, version, *numbers[version.dataset_id]) for version in newest]
    return sorted(rows, key=lambda row: row.newest.created_at, reverse=True)


def version_list(dataset: Dataset) -> list[DatasetVersion]:
    """Return a data set's versions, newest first, without what their imports found."""
    return list(dataset.versions.defer("report", "statistics", "leaks", "edits", "splits", "classes").order_by("-number"))


def version_whole(version: DatasetVersion) -> DatasetVersion:
    """Return a version with everything that its page shows."""
    return DatasetVersion.objects.select_related("dataset", "artifact").get(pk=version.pk)


def version_choices() -> QuerySet[DatasetVersion]:
    """Return every version that a job may use, newest first: those that are frozen."""
    return DatasetVersion.objects.filter(frozen=True).select_related("dataset").order_by("-created_at", "-id")


def previews_waiting(*, limit: int = 3) -> list[DatasetVersion]:
    """Return the newest previews, which no job may use before they are frozen."""
    return list(DatasetVersion.objects.filter(frozen=False).select_related("dataset").order_by("-id")[:limit])


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
    index = stored_index(version)
    return [index.image(number) for number in index.numbers(split=split).tolist()]


def stored_index(version: DatasetVersion) -> ArchiveIndex:
    """Return what a version's .tar holds: for reading a page of many images. Raises FileNotFoundError where the .tar is gone."""
    return archive_index(version.artifact_id)


def stored_image(version: DatasetVersion, number: int) -> StoredImage | None:
    """Return the image with this number, counted from 1."""
    index = stored_index(version)
    return index.image(number) if 1 <= number <= len(index) else None


def image_bytes(version: DatasetVersion, image: StoredImage) -> bytes:
    """Return an image's file as it was imported."""
    return member_bytes(version.artifact_id, offset=image.offset, size=image.size)
