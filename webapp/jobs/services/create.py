"""Jobs come into being: checked first, then written, then a wake-up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.urls import reverse

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.detectors import DETECTORS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import PUBLISHED, InputFile
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ImportModelSpec, JobSpec, ScoreSpec, TrainSpec, input_fields
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.datasets.folders import folder_for
from webapp.datasets.models import DatasetVersion
from webapp.jobs.model_files import published_weights
from webapp.jobs.models import Job, JobDependency, JobEvent, Suite
from webapp.jobs.queue import wake_up
from webapp.jobs.services.moves import clean
from webapp.jobs.states import SLOT_OF_KIND, State

HOUR = 3600
TIME_LIMIT_S = 6 * HOUR
TRAINING_TIME_LIMIT_S = 24 * HOUR
LANE = re.compile(r"^[a-z0-9][a-z0-9_-]{0,49}$")

Needs = Mapping[str, tuple[Job, str]]


@dataclass(frozen=True)
class PlannedJob:
    """A job of a suite before it exists; `needs` gives, by spec field, the alias of an earlier job and the role of its output.

    `labels` are stored with the job: which part of the suite it is.
    """

    alias: str
    spec: JobSpec
    title: str = ""
    lane: str = "cpu"
    priority: int = 0
    needs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    labels: Mapping[str, str | int] = field(default_factory=dict)


def job_create(
    *,
    spec: JobSpec,
    user: User | None = None,
    title: str = "",
    lane: str = "cpu",
    suite: Suite | None = None,
    priority: int = 0,
    needs: Needs | None = None,
    labels: Mapping[str, str | int] | None = None,
    idempotency_key: str | None = None,
    time_limit_s: int | None = None,
) -> Job:
    """Queue a job. `needs` gives, by field of the spec, another job and the role of the output that is to become that field.

    The same `idempotency_key` gives the same job and queues nothing twice.

    Raises:
        InvalidInput: the spec names a model or a file that does not exist, or the key was used for another spec.
    """
    needs = needs or {}
    spec = spec_checked(spec, needs, user)
    lane = lane_checked(lane)
    if earlier := _job_of_key(idempotency_key, spec):
        return earlier
    try:
        with transaction.atomic():
            job = Job.objects.create(
                kind=spec.kind,
                title=clean(title)[:200],
                spec=clean(spec.to_dict()),
                state=State.WAITING if needs else State.QUEUED,
                lane=lane,
                slot=SLOT_OF_KIND[spec.kind],
                priority=priority,
                suite=suite,
                created_by=user,
                labels=clean(dict(labels or {})),
                idempotency_key=idempotency_key,
                queued_at=None if needs else Now(),
                woken_at=None if needs else Now(),
                time_limit_s=time_limit_s or _time_limit(spec),
                event_seq=1,
            )
            for name, (needed, role) in needs.items():
                JobDependency.objects.create(job=job, needs=needed, field=name, role=role)
            data = {"to": job.state, "by": user.get_username() if user else ""}
            JobEvent.objects.create(job=job, seq=1, type="move", data=data, created_at=Now())
            job.refresh_from_db()
            if not needs:
                wake_up([job])
            return job
    except IntegrityError:
        if earlier := _job_of_key(idempotency_key, spec):
            return earlier
        raise


def suite_create(*, name: str, user: User | None, jobs: list[PlannedJob], study: str = "", idempotency_key: str | None = None) -> Suite:
    """Queue jobs together, all or none. A job may need those that stand before it in the list. `study` is the study that they are of.

    Raises:
        InvalidInput: a job is wrong, or the key was used for another suite.
    """
    name = clean(name)[:200]
    if earlier := _suite_of_key(idempotency_key, jobs):
        return earlier
    try:
        with transaction.atomic():
            suite = Suite.objects.create(name=name, created_by=user, study=study, idempotency_key=idempotency_key)
            _create_planned(suite, jobs, user)
            return suite
    except IntegrityError:
        if earlier := _suite_of_key(idempotency_key, jobs):
            return earlier
        raise


def _create_planned(suite: Suite, jobs: list[PlannedJob], user: User | None) -> None:
    if not jobs:
        raise InvalidInput("the suite has no jobs; add at least one")
    made: dict[str, Job] = {}
    for planned in jobs:
        if planned.alias in made:
            raise InvalidInput(f"two jobs of the suite are called '{planned.alias}'; give each its own alias")
        for alias, _ in planned.needs.values():
            if alias not in made:
                raise InvalidInput(f"job '{planned.alias}' needs '{alias}', which does not stand before it; put it first")
        needs = {name: (made[alias], role) for name, (alias, role) in planned.needs.items()}
        made[planned.alias] = job_create(
            spec=planned.spec,
            user=user,
            title=planned.title,
            lane=planned.lane,
            suite=suite,
            priority=planned.priority,
            needs=needs,
            labels=planned.labels,
        )


def spec_checked(spec: JobSpec, needs: Needs, user: User | None = None) -> JobSpec:
    """Return the spec as it is stored: every input names stored bytes, a data set of the catalogue, a folder that `user` may import, or
    the job that will make it."""
    if isinstance(spec, TrainSpec) and spec.model not in DETECTORS:
        raise InvalidInput(f"field 'model': '{spec.model}' is not in the catalogue; choose one that /models lists")
    if isinstance(spec, TrainSpec) and spec.weights is not None and spec.weights.ref == PUBLISHED:
        published_weights(spec.model)
    if isinstance(spec, ImportModelSpec):
        _own_name(spec)
    inputs = input_fields(spec)
    for name in needs:
        if name not in type(spec).model_fields:
            raise InvalidInput(f"a job of kind {spec.kind} has no field '{name}' that another job could fill; remove it from the needs")
    filled = {name: _awaited(inputs.get(name), *need) for name, need in needs.items()}
    checked = {name: _input_checked(name, file, spec.kind, user) for name, file in inputs.items() if name not in needs}
    if "dataset" in checked:
        _preview_refused(checked["dataset"])
    if isinstance(spec, EvaluateSpec | BenchmarkSpec | ScoreSpec) and "dataset" in checked:
        _version_required(checked["dataset"])
    return spec.model_copy(update={**checked, **filled})


def lane_checked(lane: str) -> str:
    """Return the lane, or refuse a name that no queue can have."""
    if not LANE.match(lane):
        raise InvalidInput(f"lane '{lane}' is not a name; use small letters, digits, - and _, such as cpu or cuda")
    return lane


def _awaited(file: InputFile | None, needed: Job, role: str) -> InputFile:
    if needed.kind == "import" and needed.spec.get("preview"):
        raise InvalidInput(f"job {needed.uuid} makes a preview, which no job may use before it is frozen; import without `preview`")
    return InputFile.parse({"name": file.name if file else "", "from_job": str(needed.uuid), "role": role})


def _input_checked(name: str, file: InputFile, kind: str, user: User | None) -> InputFile:
    if file.sha256 is not None:
        if not Artifact.objects.filter(sha256=file.sha256).exists():
            raise InvalidInput(f"field '{name}': no stored file has the sha256 {file.sha256}; upload it first")
        return file.model_copy(update={"url": None, "ref": None})
    if kind == "train" and name == "weights" and file.ref == PUBLISHED:
        return file.model_copy(update={"url": None})
    if file.ref is not None and kind == "import" and file.ref.startswith("/") and settings.DATA_FOLDERS:
        return file.model_copy(update={"url": None, "ref": str(folder_for(file.ref, user))})
    if file.ref is not None and kind == "import":
        if file.ref.partition(":names=")[0] not in DATASETS:
            raise InvalidInput(
                f"field '{name}': '{file.ref}' is no built-in data set; use one of {', '.join(DATASETS)}, or upload the files"
            )
        return file.model_copy(update={"url": None})
    raise InvalidInput(f"field '{name}' names no stored file; give the sha256 of one (an upload, or another job's output)")


def _own_name(spec: ImportModelSpec) -> None:
    """A model from elsewhere may not pass for one of the catalogue, unless it is of that family."""
    entry = DETECTORS.get(spec.name)
    if entry is not None and entry.family != spec.layout:
        raise InvalidInput(f"field 'name': '{spec.name}' is a model of the catalogue; give the model from elsewhere another name")
    if unknown := sorted(set(spec.class_map) - set(spec.classes)):
        raise InvalidInput(f"field 'class_map': '{unknown[0]}' is not one of the model's classes; write its name as the classes have it")


def _preview_refused(file: InputFile) -> None:
    """What is measured or trained on must not change any more."""
    versions = list(DatasetVersion.objects.filter(artifact_id=file.sha256).select_related("dataset"))
    if versions and not any(version.frozen for version in versions):
        page = f"{settings.SITE_URL.rstrip('/')}{reverse('dataset-detail', args=[versions[0].dataset.uuid])}?version={versions[0].uuid}"
        raise InvalidInput(f"field 'dataset': {versions[0]} is a preview; look at it and freeze it first: {page}")


def _version_required(file: InputFile) -> None:
    """A measurement is of a data set version: its row is what results are compared by."""
    if not DatasetVersion.objects.filter(artifact_id=file.sha256).exists():
        raise InvalidInput(
            f"field 'dataset': {(file.sha256 or '')[:12]}… is no imported data set; import it, then give its artifact_sha256"
        )


def _time_limit(spec: JobSpec) -> int:
    if not isinstance(spec, TrainSpec):
        return TIME_LIMIT_S
    asked = (spec.recipe.max_minutes or 0) * 60 + HOUR
    return max(TRAINING_TIME_LIMIT_S, int(asked))


def _job_of_key(key: str | None, spec: JobSpec) -> Job | None:
    job = Job.objects.filter(idempotency_key=key).first() if key else None
    if job is not None and _asked(job.spec) != _asked(clean(spec.to_dict())):
        raise InvalidInput(f"the Idempotency-Key '{key}' was used for another job ({job.uuid}); use a new key")
    return job


def _asked(spec: dict) -> dict:
    """What of a stored spec was asked for: without what later moves fill in."""
    return {name: value for name, value in spec.items() if name != "resume" and not (isinstance(value, dict) and value.get("from_job"))}


def _suite_of_key(key: str | None, jobs: list[PlannedJob]) -> Suite | None:
    suite = Suite.objects.filter(idempotency_key=key).first() if key else None
    if suite is None:
        return None
    planned = [_asked({name: value for name, value in clean(job.spec.to_dict()).items() if name not in job.needs}) for job in jobs]
    if planned != [_asked(job.spec) for job in suite.jobs.order_by("id")]:
        raise InvalidInput(f"the Idempotency-Key '{key}' was used for another suite ({suite.uuid}); use a new key")
    return suite
