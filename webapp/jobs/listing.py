"""Rows of the jobs list and of a suite, with the words of their progress; the number of queries does not grow with the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from webapp.hardware.selectors import lanes_served
from webapp.jobs.models import Job, JobAttempt, JobDependency
from webapp.jobs.presentation import KIND_TITLES, duration_seconds, job_title, progress_percent, progress_words
from webapp.jobs.states import State
from webapp.templatetags.show import seconds

LONGEST_REASON = 160


@dataclass(frozen=True)
class JobRow:
    """One job as a list shows it; `worker` is that of the newest attempt (a job that has ended is nobody's any more)."""

    job: Job
    words: str
    worker: str

    @property
    def title(self) -> str:
        """Return the job's name."""
        return job_title(self.job)

    @property
    def kind(self) -> str:
        """Return the kind as pages write it."""
        return KIND_TITLES.get(self.job.kind, self.job.kind)

    @property
    def percent(self) -> float | None:
        """Return how far a running job is, 0..100; None for one that does not run."""
        return progress_percent(self.job.progress) if self.job.state in (State.RUNNING, State.CANCELLING) else None

    @property
    def quiet(self) -> bool:
        """Say whether the words may step back."""
        return self.job.state in (State.SUCCEEDED, State.CANCELLED, State.QUEUED, State.WAITING)


def job_rows(jobs: Sequence[Job]) -> list[JobRow]:
    """Return the rows of these jobs, in their order."""
    queue = _QueueWords(jobs)
    workers = dict(JobAttempt.objects.filter(job__in=jobs).order_by("number").values_list("job_id", "worker"))
    return [JobRow(job=job, words=_words(job, queue), worker=job.worker or workers.get(job.pk, "")) for job in jobs]


def _words(job: Job, queue: _QueueWords) -> str:
    match job.state:
        case State.RUNNING:
            return progress_words(job.progress)
        case State.CANCELLING:
            return "its processes are being ended"
        case State.QUEUED | State.WAITING:
            return queue.words(job)
        case State.SUCCEEDED if job.origin:
            return f"offline, measured on {job.origin}"
        case State.SUCCEEDED:
            return f"took {seconds(duration_seconds(job))}"
        case State.FAILED:
            return _shortened(job.failure_message)
        case _:
            return _shortened(job.failure_message) or "cancelled on request"


def _shortened(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1].rstrip() + "…"


class _QueueWords:
    """Why jobs stand still, looked up once for a whole page."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        queued = [job.pk for job in jobs if job.state == State.QUEUED]
        waiting = [job.pk for job in jobs if job.state == State.WAITING]
        self._served = set(lanes_served()) if queued else set()
        self._places = _queue_places(queued) if queued else {}
        self._needs = _unfinished_needs(waiting) if waiting else {}

    def words(self, job: Job) -> str:
        """Say why a job waits."""
        if job.state == State.WAITING:
            return "waits for " + (" and ".join(self._needs.get(job.pk, ())) or "another job")
        if job.lane not in self._served:
            return f"no living worker serves lane {job.lane}"
        ahead = self._places.get(job.pk, 1) - 1
        return f"behind {ahead} job{'s' if ahead > 1 else ''} of lane {job.lane}" if ahead else f"next on lane {job.lane}"


def _queue_places(ids: list[int]) -> dict[int, int]:
    place = Window(RowNumber(), partition_by=[F("lane"), F("slot")], order_by=[F("priority").desc(), F("id").asc()])
    return dict(Job.objects.filter(state=State.QUEUED).annotate(place=place).filter(pk__in=ids).values_list("pk", "place"))


def _unfinished_needs(ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    rows = JobDependency.objects.filter(job__in=ids).exclude(needs__state=State.SUCCEEDED).order_by("needs_id")
    for job_id, kind, title in rows.values_list("job_id", "needs__kind", "needs__title").distinct():
        found[job_id].append(f"the {KIND_TITLES.get(kind, kind).lower()} of {job_title(Job(kind=kind, title=title))}")
    return found
