"""A job while it runs: claimed, kept by a lease, told about. Every write carries the attempt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from webapp.artifacts.models import Artifact
from webapp.hardware.services import host_lease_renew, host_lease_take
from webapp.jobs.models import Job, JobAttempt, JobLog
from webapp.jobs.services.moves import OWNED, NotOwner, clean, event_add, move, state_drop
from webapp.jobs.states import TAKES_HOST_ALONE, State


@dataclass(frozen=True)
class Renewal:
    """What a worker learns about the job it runs."""

    owned: bool
    cancel_requested: bool


@transaction.atomic
def job_claim(*, worker: str, lanes: Sequence[str], slot: str, host: str, backends: Collection[str] | None = None) -> Job | None:
    """Take the next queued job of these lanes for one slot, or None where none may start now.

    `host` names the machine for measurements that want it alone; such a job, once first in line, keeps others on its host from
    starting until it can. `backends` are those the worker can run; None means that it does not know yet.
    """
    queued = Job.objects.filter(state=State.QUEUED, lane__in=lanes, slot=slot)
    if backends is not None:
        queued = queued.filter(Q(spec__backend__isnull=True) | Q(spec__backend__in=list(backends)))
    job = queued.order_by("-priority", "id").select_for_update(skip_locked=True, no_key=True).first()
    if job is None or not host_lease_take(host=host, job=job.uuid, exclusive=job.kind in TAKES_HOST_ALONE):
        return None
    changes: dict[str, Any] = {"worker": worker, "attempt": F("attempt") + 1, "started_at": Now(), "lease_expires_at": _lease_end()}
    job = move(job.pk, State.RUNNING, progress={}, why=f"claimed by {worker}", **changes)
    assert job is not None  # the row is locked and queued
    JobAttempt.objects.create(job=job, number=job.attempt, worker=worker, started_at=Now())
    return job


@transaction.atomic
def job_renew(*, job_id: int, worker: str, attempt: int, host: str) -> Renewal:
    """Keep a job for another lease, by owner and attempt and whatever the expiry was."""
    mine = Job.objects.filter(pk=job_id, worker=worker, attempt=attempt, state__in=OWNED)
    if not mine.update(lease_expires_at=_lease_end()):
        return Renewal(owned=False, cancel_requested=False)
    job = Job.objects.only("uuid", "kind", "cancel_requested_at").get(pk=job_id)
    host_lease_renew(host=host, job=job.uuid, exclusive=job.kind in TAKES_HOST_ALONE)
    return Renewal(owned=True, cancel_requested=job.cancel_requested_at is not None)


def job_look(*, job_id: int, worker: str, attempt: int) -> Renewal:
    """Ask what `job_renew` answers without writing."""
    mine = Job.objects.filter(pk=job_id, worker=worker, attempt=attempt, state__in=OWNED)
    row = mine.values("cancel_requested_at").first()
    return Renewal(owned=row is not None, cancel_requested=row is not None and row["cancel_requested_at"] is not None)


def job_progress(*, job_id: int, attempt: int, progress: dict[str, Any]) -> None:
    """Write how far a running job is, in place; raises NotOwner."""
    if not Job.objects.filter(pk=job_id, attempt=attempt, state__in=OWNED).update(progress=clean(progress)):
        raise NotOwner


@transaction.atomic
def job_event_add(*, job_id: int, attempt: int, type: str, data: dict[str, Any]) -> None:
    """Add a warning or a metric point to a running job; raises NotOwner."""
    if not event_add(job_id, attempt, type, data):
        raise NotOwner


@transaction.atomic
def job_log_append(*, job_id: int, attempt: int, offset: int, text: str) -> None:
    """Add a piece of log; `offset` counts the bytes (as UTF-8) of the pieces before it. Twice is once. Raises NotOwner."""
    if not Job.objects.select_for_update(no_key=True).filter(pk=job_id, attempt=attempt, state__in=OWNED).exists():
        raise NotOwner
    piece = JobLog(job_id=job_id, attempt=attempt, offset=offset, text=clean(text))
    JobLog.objects.bulk_create([piece], ignore_conflicts=True)


def job_state_saved(*, job_id: int, attempt: int, artifact: Artifact) -> None:
    """Let the next attempt go on from this state; the state before it is removed unless another job refers to it. Raises NotOwner."""
    with transaction.atomic():
        mine = Job.objects.select_for_update(no_key=True).filter(pk=job_id, attempt=attempt, state__in=OWNED)
        former = mine.values_list("resume_sha256", flat=True).first()
        if former is None:
            raise NotOwner
        Job.objects.filter(pk=job_id).update(resume_sha256=artifact.sha256)
    if former and former != artifact.sha256:
        state_drop(former)


def _lease_end() -> Any:
    return Now() + timedelta(seconds=settings.LEASE_SECONDS)
