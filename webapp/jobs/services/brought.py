"""A job that was done elsewhere comes in, ended. No worker of ours ever owned it, so it goes through no move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import Event
from detection_core.schemas.results import JobResult
from detection_core.schemas.specs import JobSpec
from webapp.accounts.models import User
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.services.create import spec_checked
from webapp.jobs.services.finish import Outputs, outputs_keep
from webapp.jobs.services.moves import clean
from webapp.jobs.states import SLOT_OF_KIND, State

LANE = "offline"
MOST_EVENTS = 5000
MOST_SAMPLES = 100


def job_brought(*, key: str) -> Job | None:
    """Return the job that came in under this key before, or None.

    Raises:
        InvalidInput: a job of our own has the key.
    """
    job = Job.objects.filter(idempotency_key=key).first()
    if job is not None and not job.origin:
        raise InvalidInput(f"the key of this bundle was used as the Idempotency-Key of job {job.uuid}; make the bundle anew")
    return job


@transaction.atomic
def job_bring(
    *, spec: JobSpec, result: JobResult, outputs: Outputs, events: Sequence[Event], origin: str, key: str, user: User, title: str
) -> Job:
    """Write down a job that was done on the machine `origin`, with its result, files, curves and warnings.

    Raises:
        InvalidInput: an input of the spec is not stored here.
    """
    origin = clean(origin)[:200]
    told = [("move", {"to": State.SUCCEEDED, "by": user.get_username(), "why": f"done on {origin}, brought in as a bundle"})]
    told += _kept(events)
    job = Job.objects.create(
        kind=spec.kind,
        title=clean(title)[:200],
        spec=clean(spec_checked(spec, {}).to_dict()),
        state=State.SUCCEEDED,
        lane=LANE,
        slot=SLOT_OF_KIND[spec.kind],
        created_by=user,
        idempotency_key=key,
        finished_at=Now(),
        progress={"fraction": 1.0, "message": "done"},
        result=clean(result.to_dict()),
        origin=origin,
        event_seq=len(told),
    )
    rows = [JobEvent(job=job, seq=seq, type=kind, data=clean(data), created_at=Now()) for seq, (kind, data) in enumerate(told, start=1)]
    JobEvent.objects.bulk_create(rows, batch_size=1000)
    outputs_keep(job, outputs, {file.role: PurePosixPath(file.path).name for file in result.files})
    job.refresh_from_db()
    return job


def _kept(events: Sequence[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Curves and samples, thinned evenly where they are long, and the warnings; progress is of no use afterwards."""
    samples = [event for event in events if event.type == "samples"]
    samples = samples[:: -(-len(samples) // MOST_SAMPLES) or 1]
    points = [event for event in events if event.type == "metric"]
    points = points[:: -(-len(points) // MOST_EVENTS) or 1]
    warnings = [event for event in events if event.type == "warning"][:MOST_EVENTS]
    found: list[tuple[str, dict[str, Any]]] = [("warning", {"message": event.message or ""}) for event in warnings]
    for event in samples:
        if event.examples is not None:
            found.append(("samples", {"step": event.step, "epoch": event.epoch, "examples": event.examples.model_dump(mode="json")}))
    return found + [("metric", {"step": event.step, "epoch": event.epoch, "values": event.values or {}}) for event in points]
