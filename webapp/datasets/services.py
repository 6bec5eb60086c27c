"""Writes of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max, ProtectedError

from detection_core.schemas.results import ImportResult
from detection_core.schemas.text import storable_data
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.datasets.edits import composed
from webapp.datasets.models import Dataset, DatasetVersion


@transaction.atomic
def dataset_version_record(*, result: ImportResult, artifact: Artifact, user: User | None, made_from: str | None = None) -> DatasetVersion:
    """Record an imported data set: the version with this content if it is known, else the next number. Text is stored as Postgres can.

    `made_from` is the sha256 of what was imported. Where that is a stored version, the new one carries its changes on; a preview is
    replaced by what was made out of it. A result that is a preview itself stays to be frozen, unless its content is frozen already.
    """
    found = storable_data(result.to_dict())
    dataset, _ = Dataset.objects.get_or_create(name=found["name"], defaults={"created_by": user})
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    _fill_in(dataset, licence=found["licence"] or "", source=found["source"] or "")
    parent = dataset.versions.filter(artifact_id=made_from).first() if made_from else None
    known = dataset.versions.filter(content_hash=result.content_hash).first()
    number = _next_number(dataset)
    if parent is not None and parent != known and not result.preview and _preview_removed(parent):
        number = parent.number
    if known is not None:
        _complete(known, found)
        return known if result.preview else dataset_freeze(version=known)
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        content_hash=result.content_hash,
        artifact=artifact,
        classes=found["classes"],
        splits=found["splits"],
        report=found["report"],
        form=parent.form if parent is not None and result.form == "canonical" else result.form,
        frozen=not result.preview,
        statistics=found["statistics"],
        leaks=found["leaks"],
        edits=composed(parent.edits if parent is not None else {}, found["edits"]),
    )


def dataset_freeze(*, version: DatasetVersion) -> DatasetVersion:
    """Freeze a preview as it is: jobs may use it from now on. One that is frozen stays so."""
    DatasetVersion.objects.filter(pk=version.pk, frozen=False).update(frozen=True)
    version.frozen = True
    return version


def _preview_removed(version: DatasetVersion) -> bool:
    """Remove a preview that nothing refers to; says whether it is gone."""
    if version.frozen:
        return False
    try:
        with transaction.atomic():
            version.delete()
    except ProtectedError:
        return False
    return True


def _complete(version: DatasetVersion, found: Mapping[str, Any]) -> None:
    """Add what an earlier import of the same content did not look at."""
    if not version.statistics:
        DatasetVersion.objects.filter(pk=version.pk).update(statistics=found["statistics"], leaks=found["leaks"])


def _fill_in(dataset: Dataset, *, licence: str, source: str) -> None:
    """Keep what the files tell of their licence and source where no person has told it."""
    told = {"licence": licence[:100], "source": source[:300]}
    missing = {field: value for field, value in told.items() if value and not getattr(dataset, field)}
    if missing:
        Dataset.objects.filter(pk=dataset.pk).update(**missing)


def _next_number(dataset: Dataset) -> int:
    return (dataset.versions.aggregate(newest=Max("number"))["newest"] or 0) + 1


def dataset_describe(*, name: str, licence: str, source: str, user: User | None) -> Dataset:
    """Say what a person knows of a data set before its import tells the rest; what is empty leaves what stands."""
    dataset, _ = Dataset.objects.get_or_create(name=name, defaults={"created_by": user})
    told = {field: value for field, value in (("licence", licence), ("source", source)) if value}
    if told:
        Dataset.objects.filter(pk=dataset.pk).update(**told)
        dataset.refresh_from_db()
    return dataset
