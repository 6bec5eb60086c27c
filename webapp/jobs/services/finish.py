"""A job's attempt ends: done, failed, given back, lost or cancelled. Each is told once, by the attempt that owns the job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from detection_core.schemas.results import JobResult
from webapp.artifacts.models import Artifact
from webapp.jobs.models import Job, JobDependency, JobOutput
from webapp.jobs.queue import wake_up
from webapp.jobs.services.moves import OWNED, NotOwner, attempt_end, clean, dependents_cancel, move, state_drop
from webapp.jobs.states import FailureKind, State

Outputs = Mapping[str, Artifact]


@transaction.atomic
def job_succeed(*, job: Job, attempt: int, result: JobResult, outputs: Outputs) -> Job:
    """End a job well: keep its result and outputs, release what waited for it, drop its saved state. Raises NotOwner."""
    former = Job.objects.values_list("resume_sha256", flat=True).get(pk=job.pk)
    changes = {"result": clean(result.to_dict()), "progress": {"fraction": 1.0, "message": "done"}, "resume_sha256": ""}
    moved = move(job.pk, State.SUCCEEDED, of_attempt=attempt, **changes)
    if moved is None:
        raise NotOwner
    if former:
        transaction.on_commit(partial(state_drop, former), robust=True)
    attempt_end(moved, attempt, outcome="succeeded")
    names: dict[str, str] = {file.role: PurePosixPath(file.path).name for file in result.files}
    outputs_keep(moved, outputs, names)
    dependents_release(moved)
    return moved


@transaction.atomic
def job_fail(*, job: Job, attempt: int, kind: str, message: str, log_tail: str = "", outputs: Outputs | None = None) -> Job:
    """End a job with a failure: whose it is to mend, a sentence, the end of the log. What waited for it is cancelled. Raises NotOwner."""
    told = {"failure_kind": FailureKind(kind), "failure_message": clean(message), "log_tail": clean(log_tail), "why": message}
    moved = move(job.pk, State.FAILED, of_attempt=attempt, only_from=OWNED, **told)
    if moved is None:
        raise NotOwner
    attempt_end(moved, attempt, outcome="failed", reason=message)
    outputs_keep(moved, outputs or {}, {})
    dependents_cancel(moved, because="failed")
    return moved


@transaction.atomic
def job_requeue(*, job: Job, attempt: int, reason: str) -> Job:
    """Give a running job back to the queue without counting the attempt as lost, as a worker does that stops.

    A job that was being cancelled is cancelled instead. Raises NotOwner.
    """
    moved = move(job.pk, State.QUEUED, of_attempt=attempt, only_from=[State.RUNNING], why=reason, progress={})
    if moved is None:
        return job_cancelled(job=job, attempt=attempt, proof={"processes_gone": True, "reason": reason})
    attempt_end(moved, attempt, outcome="given back", reason=reason)
    wake_up([moved])
    return moved


@transaction.atomic
def job_lost(*, job: Job, attempt: int, reason: str, most: int | None = None, kind: str = FailureKind.SYSTEM, log_tail: str = "") -> Job:
    """Queue a job again whose attempt was lost, or fail it where that was the last of `most` tries. Raises NotOwner.

    A job that was being cancelled is cancelled. Where it fails, `reason` is the sentence and `kind` says whose it is.
    """
    most = settings.MAX_ATTEMPTS if most is None else most
    current = Job.objects.select_for_update(no_key=True).filter(pk=job.pk, attempt=attempt).first()
    if current is None:
        raise NotOwner
    if current.state == State.CANCELLING:
        return job_cancelled(job=job, attempt=attempt, proof={"processes_gone": None, "reason": reason})
    if current.lost_attempts + 1 >= most:
        message = f"{reason[:1].upper()}{reason[1:]} ({current.lost_attempts + 1} times in all)"
        Job.objects.filter(pk=job.pk).update(lost_attempts=F("lost_attempts") + 1)
        return job_fail(job=job, attempt=attempt, kind=kind, message=message, log_tail=log_tail)
    changes = {"progress": {}, "lost_attempts": F("lost_attempts") + 1}
    moved = move(job.pk, State.QUEUED, of_attempt=attempt, only_from=[State.RUNNING], why=reason, **changes)
    if moved is None:
        raise NotOwner
    attempt_end(moved, attempt, outcome="lost", reason=reason)
    wake_up([moved])
    return moved


@transaction.atomic
def job_cancelled(*, job: Job, attempt: int, proof: dict[str, Any], outputs: Outputs | None = None) -> Job:
    """End a cancelled job once its processes are gone; `proof` says how that was seen. Raises NotOwner."""
    moved = move(job.pk, State.CANCELLED, of_attempt=attempt, only_from=[State.CANCELLING], why=_told(proof))
    if moved is None:
        raise NotOwner
    attempt_end(moved, attempt, outcome="cancelled", proof=proof)
    outputs_keep(moved, outputs or {}, {})
    dependents_cancel(moved, because="was cancelled")
    return moved


def outputs_keep(job: Job, outputs: Outputs, names: Mapping[str, str]) -> None:
    """Write down the files that a job made."""
    for role, artifact in outputs.items():
        fields = {"artifact": artifact, "name": names.get(role, artifact.name)[:200]}
        JobOutput.objects.update_or_create(job=job, role=role, defaults=fields)


def dependents_release(job: Job) -> None:
    """Queue the jobs that waited for this one and for no other."""
    released = []
    for waiting in Job.objects.filter(dependencies__needs=job, state=State.WAITING).order_by("id").distinct().values_list("pk", flat=True):
        Job.objects.select_for_update(no_key=True).get(pk=waiting)
        if (moved := release_if_ready(waiting)) is not None:
            released.append(moved)
    wake_up(released)


def release_if_ready(job_id: int) -> Job | None:
    """Fill the inputs of a waiting job and queue it, if all it needs is done; the caller holds the row."""
    needs = list(JobDependency.objects.filter(job_id=job_id).select_related("needs"))
    if any(need.needs.state != State.SUCCEEDED for need in needs):
        return None
    spec = dict(Job.objects.values_list("spec", flat=True).get(pk=job_id))
    for need in needs:
        output = JobOutput.objects.filter(job=need.needs, role=need.role).first()
        if output is None:
            message = f"the job it waited for made no '{need.role}'; use a job that makes one"
            failed = move(job_id, State.FAILED, failure_kind=FailureKind.USER, failure_message=message, why=message)
            if failed is not None:
                dependents_cancel(failed, because="failed")
            return None
        spec[need.field] = {**spec[need.field], "sha256": output.artifact_id, "name": output.name}
    return move(job_id, State.QUEUED, only_from=[State.WAITING], spec=spec, why="all it waited for is done")


def _told(proof: dict[str, Any]) -> str:
    if not proof.get("processes_gone"):
        return str(proof.get("reason") or "its processes could not be ended; look at the worker's machine")
    count, seconds = proof.get("processes"), proof.get("seconds")
    return f"{count} processes gone after {seconds:.1f} s" if count is not None and seconds is not None else str(proof.get("reason", ""))
