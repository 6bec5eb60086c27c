"""Reads of studies: their runs, and what the jobs of one run have found so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from detection_core.catalogue.studies import STUDIES
from webapp.artifacts.models import Artifact
from webapp.jobs.models import Job, JobOutput, Suite
from webapp.jobs.states import State
from webapp.results.models import Evaluation, LatencyMeasurement

MOST_RUNS = 50
ENDED_BADLY = (State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class StudyRun:
    """One suite of a study and how far it is."""

    suite: Suite
    jobs: int
    done: int
    broken: int

    @property
    def complete(self) -> bool:
        """Say whether every job has succeeded."""
        return self.done == self.jobs

    @property
    def ended(self) -> bool:
        """Say whether nothing more will happen unless somebody retries."""
        return self.done + self.broken == self.jobs

    @property
    def words(self) -> str:
        """Say how far it is."""
        if self.complete:
            return "complete"
        broken = f", {self.broken} failed or cancelled" if self.broken else ""
        return f"{self.done} of {self.jobs} jobs done{broken}"


@dataclass(frozen=True)
class Found:
    """What the jobs of a run have left: the jobs, and by job their evaluation with its stored curves, or their latency."""

    jobs: list[Job]
    evaluations: dict[int, Evaluation]
    curves: dict[int, Artifact]
    latencies: dict[int, LatencyMeasurement]


def study_runs(name: str, *, limit: int = MOST_RUNS) -> list[StudyRun]:
    """Return the runs of a study, the newest first."""
    return _runs(_suites().filter(study=name).order_by("-id")[:limit])


def newest_runs() -> dict[str, StudyRun]:
    """Return the newest run of each study, by the study's name."""
    newest = Suite.objects.filter(study__in=STUDIES).order_by("study", "-id").distinct("study").values("id")
    return {run.suite.study: run for run in _runs(_suites().filter(pk__in=newest))}


def run_shown(runs: Sequence[StudyRun], *, name: str, wanted: UUID | None = None) -> StudyRun | None:
    """Return the run that a page shows: the one asked for, else the newest complete one, else the newest; None where there is none."""
    if wanted is not None:
        asked = next((run for run in runs if run.suite.uuid == wanted), None)
        return asked or next(iter(_runs(_suites().filter(study=name, uuid=wanted))), None)
    return next((run for run in runs if run.complete), runs[0] if runs else None)


def run_found(run: StudyRun) -> Found:
    """Return what a run has found so far: four queries, however many jobs there are."""
    jobs = list(Job.objects.filter(suite=run.suite).defer("result", "log_tail").order_by("id"))
    evaluations = Evaluation.objects.filter(job__suite=run.suite).select_related("dataset_version__dataset")
    latencies = LatencyMeasurement.objects.filter(job__suite=run.suite).select_related("environment").defer("result")
    curves = JobOutput.objects.filter(job__suite=run.suite, role="curves").select_related("artifact")
    return Found(
        jobs=jobs,
        evaluations={row.job_id: row for row in evaluations},
        curves={row.job_id: row.artifact for row in curves},
        latencies={row.job_id: row for row in latencies},
    )


def _suites() -> QuerySet[Suite]:
    return Suite.objects.select_related("created_by").annotate(
        jobs_all=Count("jobs"),
        jobs_done=Count("jobs", filter=Q(jobs__state=State.SUCCEEDED)),
        jobs_broken=Count("jobs", filter=Q(jobs__state__in=ENDED_BADLY)),
    )


def _runs(suites: Iterable[Suite]) -> list[StudyRun]:
    return [StudyRun(suite=row, jobs=row.jobs_all, done=row.jobs_done, broken=row.jobs_broken) for row in suites]  # type: ignore[attr-defined]
