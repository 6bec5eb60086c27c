"""Short ways to jobs in some state."""

from __future__ import annotations

from typing import Any

from detection_core.schemas.files import InputFile
from detection_core.schemas.results import ImportResult
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ImportSpec, TrainSpec
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_put_stream
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.services import job_claim, job_create, job_succeed

MODEL = "fcos_resnet10_fpn"
IMPORT = ImportSpec(source=InputFile(ref="fields"), name="fields")


def stored(content: str = "bytes", *, name: str = "a.tar", kind: str = "dataset") -> Artifact:
    """Store some bytes."""
    return artifact_put_stream(chunks=[content.encode()], kind=kind, name=name, max_bytes=1000)


def file(content: str = "bytes") -> InputFile:
    """Store some bytes, record them as a data set's version, and name them as an input."""
    artifact = stored(content)
    dataset, _ = Dataset.objects.get_or_create(name=artifact.sha256[:12])
    fields = {"content_hash": artifact.sha256, "artifact": artifact, "classes": [], "splits": {}, "report": {}, "form": "coco"}
    DatasetVersion.objects.get_or_create(dataset=dataset, number=1, defaults=fields)
    return InputFile(sha256=artifact.sha256, name="a.tar")


def light(**fields: Any) -> Job:
    """Queue an import."""
    return job_create(spec=IMPORT, **fields)


def heavy(**fields: Any) -> Job:
    """Queue a training."""
    return job_create(spec=TrainSpec(model=MODEL, dataset=file()), **fields)


def evaluation(backend: str = "eager", **fields: Any) -> Job:
    """Queue an evaluation."""
    return job_create(spec=EvaluateSpec(artifact=file(), backend=backend, dataset=file()), **fields)


def benchmark(**fields: Any) -> Job:
    """Queue a latency measurement."""
    return job_create(spec=BenchmarkSpec(artifact=file(), backend="eager", dataset=file()), **fields)


def claim(slot: str = "light", *, worker: str = "w#1", lanes: tuple[str, ...] = ("cpu",), host: str = "host", **fields: Any) -> Job | None:
    """Claim the next job."""
    return job_claim(worker=worker, lanes=lanes, slot=slot, host=host, **fields)


def running(slot: str = "light", **fields: Any) -> Job:
    """Queue a job and claim it."""
    made = light(**fields) if slot == "light" else heavy(**fields)
    job = claim(slot)
    assert job is not None and job.pk == made.pk
    return job


def import_result(content: str = "canonical") -> tuple[ImportResult, dict[str, Artifact]]:
    """Return what an import finds, with the data set it makes."""
    artifact = stored(content)
    made = {"role": "dataset", "path": "fields.tar", "sha256": artifact.sha256, "size": artifact.size}
    told = {"name": "fields", "content_hash": artifact.sha256, "classes": ["crop"], "splits": {}, "report": {}, "form": "builtin"}
    return ImportResult.parse({**told, "files": [made]}), {"dataset": artifact}


def succeed(job: Job, content: str = "canonical") -> Job:
    """End a running import well."""
    result, outputs = import_result(content)
    return job_succeed(job=job, attempt=job.attempt, result=result, outputs=outputs)


def moves(job: Job) -> list[tuple[str, str]]:
    """Return the moves of a job as (from, to)."""
    events = JobEvent.objects.filter(job=job, type="move").order_by("seq")
    return [(event.data.get("from", ""), event.data["to"]) for event in events]
