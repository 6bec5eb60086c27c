"""What people do to jobs: cancel and retry."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.jobs.models import Job, JobDependency
from webapp.jobs.queue import wake_up
from webapp.jobs.services.finish import release_if_ready
from webapp.jobs.services.moves import dependents_cancel, descendants, move
from webapp.jobs.states import FINAL, State

FRESH: dict[str, Any] = {
    "failure_kind": "",
    "failure_message": "",
    "log_tail": "",
    "cancel_requested_at": None,
    "finished_at": None,
    "lost_attempts": 0,
    "progress": {},
}


@transaction.atomic
def job_cancel(*, job: Job, user: User | None) -> Job:
    """Cancel a job: at once where it has not started, else its worker ends its processes first. Twice is once.

    Raises:
        InvalidInput: the job has ended.
    """
    current = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
    by = user.get_username() if user else ""
    if current.state in FINAL:
        raise InvalidInput(f"this job has already {_ended(current)}; there is nothing to cancel")
    if current.state == State.RUNNING:
        current = _moved(move(job.pk, State.CANCELLING, cancel_requested_at=Now(), why="cancel requested", by=by))
    elif current.state != State.CANCELLING:
        current = _moved(move(job.pk, State.CANCELLED, cancel_requested_at=Now(), why="cancelled before it started", by=by))
        dependents_cancel(current, because="was cancelled")
    return current


@transaction.atomic
def job_retry(*, job: Job, user: User | None) -> Job:
    """Queue a failed or cancelled job again with the same spec, from its last saved state; what waited for it waits again.

    Raises:
        InvalidInput: the job has not ended or has succeeded, or a job that it needs has not succeeded and does not run.
    """
    _lock_all_concerned(job)
    current = Job.objects.get(pk=job.pk)
    if current.state not in (State.FAILED, State.CANCELLED):
        raise InvalidInput(f"this job is {current.get_state_display().lower()}; only a failed or cancelled job can be retried")
    by = user.get_username() if user else ""
    if not current.dependencies.exists():
        current = _moved(move(job.pk, State.QUEUED, **FRESH, why="retried", by=by))
        wake_up([current])
    else:
        _needs_not_ended(current)
        current = _moved(move(job.pk, State.WAITING, **FRESH, why="retried", by=by))
        if released := release_if_ready(job.pk):
            current = released
            wake_up([released])
    _dependents_wait_again(current)
    return current


def _lock_all_concerned(job: Job) -> None:
    """Hold the job, what waits for it and all that these need, in order of id: one that ends just now would not see who waits again."""
    waiting = {job.pk, *descendants(job)}
    needed = JobDependency.objects.filter(job__in=waiting).values_list("needs_id", flat=True)
    list(Job.objects.select_for_update(no_key=True).filter(pk__in=waiting | set(needed)).order_by("id").values_list("pk"))


def _needs_not_ended(job: Job) -> None:
    """Refuse a retry that would wait for ever."""
    ended = JobDependency.objects.filter(job=job, needs__state__in=[State.FAILED, State.CANCELLED]).select_related("needs").first()
    if ended is not None:
        needed = ended.needs
        raise InvalidInput(f"the job it needs ({needed.kind} {needed.title or needed.uuid}) has {_ended(needed)}; retry that one")


def _dependents_wait_again(job: Job) -> None:
    """Put back what was cancelled only because this job had ended badly, and nothing else it needs stands still."""
    for pk in descendants(job):
        dependent = Job.objects.get(pk=pk)
        stuck = dependent.dependencies.filter(needs__state__in=[State.FAILED, State.CANCELLED]).exists()
        if dependent.state == State.CANCELLED and dependent.cancel_requested_at is None and not stuck:
            move(pk, State.WAITING, **FRESH, why="the job it waits for was retried")


def _ended(job: Job) -> str:
    return {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELLED: "been cancelled"}[State(job.state)]


def _moved(job: Job | None) -> Job:
    assert job is not None  # the row is locked and its state was checked
    return job
