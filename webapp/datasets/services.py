"""Writes of data sets."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from detection_core.schemas.results import ImportResult
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.datasets.models import Dataset, DatasetVersion


@transaction.atomic
def dataset_version_record(*, result: ImportResult, artifact: Artifact, user: User | None) -> DatasetVersion:
    """Record an imported data set: the version with this content if it is known, else the next number."""
    dataset, _ = Dataset.objects.get_or_create(
        name=result.name, defaults={"licence": result.licence or "", "source": result.source or "", "created_by": user}
    )
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    known = dataset.versions.filter(content_hash=result.content_hash).first()
    if known:
        return known
    newest = dataset.versions.aggregate(newest=Max("number"))["newest"] or 0
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=newest + 1,
        content_hash=result.content_hash,
        artifact=artifact,
        classes=list(result.classes),
        splits={name: split.to_dict() for name, split in result.splits.items()},
        report=result.report.to_dict(),
        form=result.form,
    )


def dataset_describe(*, name: str, licence: str, source: str, user: User | None) -> Dataset:
    """Say what a person knows of a data set before its import tells the rest; what is empty leaves what stands."""
    dataset, _ = Dataset.objects.get_or_create(name=name, defaults={"created_by": user})
    told = {field: value for field, value in (("licence", licence), ("source", source)) if value}
    if told:
        Dataset.objects.filter(pk=dataset.pk).update(**told)
        dataset.refresh_from_db()
    return dataset
