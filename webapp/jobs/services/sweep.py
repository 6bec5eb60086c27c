"""The sweep: what a dead worker held is queued again, what waits too long is told again. Any worker does it, one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from webapp.hardware.selectors import workers_of_lane
from webapp.hardware.services import database_restarted_lately, host_leases_sweep
from webapp.jobs.models import Job
from webapp.jobs.queue import wake_up
from webapp.jobs.services.finish import job_lost
from webapp.jobs.services.moves import NotOwner
from webapp.jobs.states import State

LOCK = 7_295_001
MOST_WAKE_UPS = 20


@dataclass(frozen=True)
class SweepReport:
    """What a sweep did; `swept` is False where another worker was at it or the database has just restarted."""

    swept: bool
    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    woken: int = 0


@transaction.atomic
def jobs_sweep() -> SweepReport:
    """Queue again (or fail, after MAX_ATTEMPTS lost attempts) the jobs whose lease has expired; wake up again for old queued rows.

    After the database server itself restarted it waits one lease: until then no worker had a way to renew.
    """
    if not _alone() or database_restarted_lately():
        return SweepReport(swept=False)
    expired = Job.objects.filter(state__in=[State.RUNNING, State.CANCELLING], lease_expires_at__lt=Now())
    ends = Counter(_lost(job) for job in expired.select_for_update(skip_locked=True, no_key=True).order_by("id"))
    host_leases_sweep()
    return SweepReport(
        swept=True, requeued=ends[State.QUEUED], failed=ends[State.FAILED], cancelled=ends[State.CANCELLED], woken=_wake_again()
    )


@transaction.atomic
def jobs_of_former_worker_requeue(*, name: str, worker: str) -> int:
    """Queue again at once what an earlier process of the worker `name` held; `worker` is the process that has just started.

    Only for a worker that has made sure that the processes of its earlier self are gone.
    """
    held = Job.objects.filter(state__in=[State.RUNNING, State.CANCELLING], worker__startswith=f"{name}#").exclude(worker=worker)
    reason = f"its worker {name} ended without a word and has started again"
    return sum(1 for job in held.select_for_update(no_key=True).order_by("id") if _lost(job, reason) is not None)


def _lost(job: Job, reason: str = "") -> str | None:
    reason = reason or f"its worker {job.worker.split('#')[0]} has not been heard of for {settings.LEASE_SECONDS} s"
    remedy = "look at the worker's own log, then retry"
    try:
        return job_lost(job=job, attempt=job.attempt, reason=f"{reason}; {remedy}").state
    except NotOwner:
        return None


def _wake_again() -> int:
    """Send wake-ups again for lanes that a worker serves; a lane without a worker would only pile up messages."""
    old = Job.objects.filter(state=State.QUEUED, woken_at__lt=Now() - timedelta(seconds=settings.WAKE_UP_AGAIN_SECONDS))
    served = [lane for lane in set(old.values_list("lane", flat=True)) if workers_of_lane(lane)]
    jobs = list(old.filter(lane__in=served).order_by("-priority", "id")[:MOST_WAKE_UPS])
    Job.objects.filter(pk__in=[job.pk for job in jobs], state=State.QUEUED).update(woken_at=Now())
    wake_up(jobs)
    return len(jobs)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])
