"""The one way in which a job changes its state: locked, checked against the table of moves, told as an event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Now

from webapp.artifacts.services import artifact_remove
from webapp.hardware.services import host_lease_release
from webapp.jobs.models import Job, JobAttempt, JobEvent
from webapp.jobs.states import FINAL, MOVES, State

OWNED = (State.RUNNING, State.CANCELLING)


class NotOwner(Exception):
    """The job is no longer this attempt's: it ended, or another attempt owns it. Whatever was found is to be dropped."""


def move(job_id: int, to: State, *, of_attempt: int | None = None, only_from: Iterable[State] | None = None, **changes: Any) -> Job | None:
    """Move a job and return it, or None where it stands in no state from which this move is allowed (or in another attempt).

    `changes` are further columns; `why` and `by`, where given, are told in the event only. Runs inside the caller's transaction.
    """
    told = {name: changes.pop(name) for name in ("why", "by") if name in changes}
    starts = {state for state, targets in MOVES.items() if to in targets}
    starts &= set(only_from) if only_from is not None else starts
    owned = Q() if of_attempt is None else Q(attempt=of_attempt)
    job = Job.objects.select_for_update(no_key=True).filter(owned, pk=job_id, state__in=starts).first()
    if job is None:
        return None
    before = job.state
    if to in FINAL or to == State.QUEUED:
        changes |= {"worker": "", "lease_expires_at": None}
        host_lease_release(job=job.uuid)
    if to in FINAL:
        changes["finished_at"] = Now()
    if to == State.QUEUED:
        changes |= {"queued_at": Now(), "woken_at": Now(), "started_at": None}
    Job.objects.filter(pk=job_id).update(state=to, event_seq=F("event_seq") + 1, **changes)
    job.refresh_from_db()
    data = {"from": before, "to": str(to)} | {name: value for name, value in told.items() if value}
    JobEvent.objects.create(job=job, seq=job.event_seq, attempt=job.attempt, type="move", data=clean(data), created_at=Now())
    return job


def event_add(job_id: int, attempt: int, type: str, data: dict[str, Any]) -> bool:
    """Add an event to a running job's attempt. Returns whether it is still this attempt's job."""
    running = Job.objects.filter(pk=job_id, attempt=attempt, state__in=OWNED)
    if not running.update(event_seq=F("event_seq") + 1):
        return False
    seq = Job.objects.values_list("event_seq", flat=True).get(pk=job_id)
    JobEvent.objects.create(job_id=job_id, seq=seq, attempt=attempt, type=type, data=clean(data), created_at=Now())
    return True


def attempt_end(job: Job, number: int, *, outcome: str, reason: str = "", proof: dict[str, Any] | None = None) -> None:
    """Write down how an attempt ended."""
    attempts = JobAttempt.objects.filter(job=job, number=number, ended_at=None)
    attempts.update(ended_at=Now(), outcome=outcome, reason=clean(reason), cancel_proof=proof)


def descendants(job: Job) -> list[int]:
    """Return the ids of the jobs that wait for this one, directly or through others, in order of id."""
    found: set[int] = set()
    edge = {job.pk}
    while edge:
        edge = set(Job.objects.filter(dependencies__needs__in=edge).values_list("pk", flat=True)) - found
        found |= edge
    return sorted(found)


def dependents_cancel(job: Job, *, because: str) -> None:
    """Cancel what waits for a job that failed or was cancelled, in order of id (one order everywhere, so that nobody waits in a ring)."""
    message = f"the job it waited for ({job.kind} {job.title or job.uuid}) {because}; retry that job and this one waits for it again"
    for pk in descendants(job):
        move(pk, State.CANCELLED, only_from=[State.WAITING], failure_message=message, why=message)


def state_drop(sha256: str) -> None:
    """Remove a saved state that no job goes on from any more."""
    if not Job.objects.filter(Q(resume_sha256=sha256) | Q(kind="train", spec__resume__sha256=sha256)).exists():
        artifact_remove(sha256=sha256)


def clean(value: Any) -> Any:
    """Return text, or JSON-ready data, without the NUL characters that Postgres cannot store."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
