"""Previews become frozen versions, and versions become new ones by changes: each change is an import of the stored .tar."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.db import transaction

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import DatasetEdits, ImportSpec
from webapp.accounts.models import User
from webapp.datasets.models import DatasetVersion
from webapp.datasets.services import dataset_describe, dataset_freeze
from webapp.jobs.models import Job
from webapp.jobs.services.create import job_create


@dataclass(frozen=True)
class Frozen:
    """What became of a version: itself, frozen, or the job whose version will be frozen when it ends."""

    version: DatasetVersion
    job: Job | None = None


@transaction.atomic
def version_freeze(
    *, version: DatasetVersion, edits: DatasetEdits, user: User, licence: str = "", source: str = "", token: str = ""
) -> Frozen:
    """Freeze a version: at once where nothing is changed, else by a job that makes the changed one out of its .tar.

    A frozen version stays as it is; the changed one gets the next number. A preview is replaced by what is made out of it. `licence`
    and `source` are those of the data set; what is empty leaves what stands. The same `token` queues nothing twice.

    Raises:
        InvalidInput: a class that is renamed or dropped is not one of the version's, or the token was used for other changes.
    """
    dataset = version.dataset
    if edits == DatasetEdits():
        dataset_describe(name=dataset.name, licence=licence, source=source, user=user)
        return Frozen(dataset_freeze(version=version))
    for name in (*edits.rename, *edits.drop):
        if name not in version.classes:
            raise InvalidInput(f"'{name}' is not a class of {version}; it has {', '.join(version.classes)}")
    file = InputFile(sha256=version.artifact_id, name=version.file_name)
    spec = ImportSpec(source=file, name=dataset.name, edits=edits, licence=licence or dataset.licence, origin=source or dataset.source)
    # Hashed, since a token may be as long as the column and needs a word before it that keeps it apart from the keys of jobs.
    key = f"edit:{hashlib.sha256(token.encode()).hexdigest()}" if token else None
    try:
        return Frozen(version, job_create(spec=spec, user=user, title=f"{version}, corrected", idempotency_key=key))
    except InvalidInput as error:
        raise InvalidInput(str(error).replace(key, token) if key else str(error)) from None
