"""What will be queued, in words, before anybody presses the button."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from detection_core.catalogue.scenarios import DURATIONS
from detection_core.schemas.specs import BenchmarkSpec, JobSpec, TrainSpec, parse_spec
from webapp.jobs.models import Job
from webapp.jobs.presentation import about
from webapp.jobs.selectors import estimate_seconds, what_cannot_run
from webapp.jobs.services import PlannedJob
from webapp.jobs.states import State

NOUNS = {
    "import": ("import", "imports"),
    "import_model": ("model import", "model imports"),
    "train": ("training", "trainings"),
    "export": ("export", "exports"),
    "evaluate": ("evaluation", "evaluations"),
    "benchmark": ("latency measurement", "latency measurements"),
    "score": ("scoring", "scorings"),
}
# What a kind took on two CPU cores, for a site that has no past jobs to ask; warming up and saving come on top of the minutes. The epoch is
# that of a small network on a few hundred images.
FIRST_GUESS_S = {"import": 20.0, "import_model": 15.0, "score": 20.0, "export": 15.0, "evaluate": 30.0}
AN_EPOCH_S = 20.0
AROUND_A_TRAINING_S = 25.0
AROUND_A_MEASUREMENT_S = 8.0

Known = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class PlanSummary:
    """The sentence above the button and what will not work. `missing` stands there while the form is incomplete."""

    words: str = ""
    problems: tuple[str, ...] = ()
    missing: str = ""


def plan_summary(planned: list[PlannedJob]) -> PlanSummary:
    """Say how many jobs of which kinds, how long they will take one after the other, and which no living worker can run."""
    lane = planned[0].lane
    known: Known = {}
    seconds = sum(_seconds(job.spec, job.lane, known) for job in planned)
    count = f"{len(planned)} jobs: {_kinds(planned)}" if len(planned) > 1 else _kinds(planned)
    return PlanSummary(words=f"{count}; {about(seconds)} on lane {lane}", problems=_problems(planned))


def _kinds(planned: list[PlannedJob]) -> str:
    counts = Counter(job.spec.kind for job in planned)
    parts = []
    for kind in sorted(counts, key=lambda kind: list(NOUNS).index(kind)):
        one, many = NOUNS[kind]
        detail = _detail(job.spec for job in planned if job.spec.kind == kind)
        parts.append(f"{counts[kind]} {one if counts[kind] == 1 else many}{detail}")
    return ", ".join(parts)


def _detail(specs: Iterable[JobSpec]) -> str:
    first = next(iter(specs))
    if isinstance(first, TrainSpec) and first.recipe.max_minutes:
        return f" of at most {first.recipe.max_minutes:g} min"
    if isinstance(first, BenchmarkSpec):
        return f" ({first.duration})"
    return ""


def remaining_seconds(jobs: Iterable[Job]) -> float:
    """Estimate how long jobs that have not ended will take, one after the other."""
    known: Known = {}
    total = 0.0
    for job in jobs:
        if job.state in (State.QUEUED, State.WAITING):
            total += _seconds(parse_spec(job.spec), job.lane, known)
        elif job.state == State.RUNNING:
            eta = job.progress.get("eta_s")
            total += _seconds(parse_spec(job.spec), job.lane, known) if eta is None else eta
    return total


def _seconds(spec: JobSpec, lane: str, known: Known) -> float:
    """Estimate one job; `known` keeps what the past said of jobs of this kind."""
    if isinstance(spec, TrainSpec) and spec.recipe.max_minutes:
        return spec.recipe.max_minutes * 60 + AROUND_A_TRAINING_S
    key = (spec.kind, *(getattr(spec, name, "") for name in ("model", "backend", "duration")))
    if isinstance(spec, TrainSpec):
        key = (*key, str(spec.recipe.epochs))
    if key not in known:
        past = estimate_seconds(Job(kind=spec.kind, spec=spec.to_dict(), lane=lane))
        known[key] = past if past is not None else _first_guess(spec)
    return known[key]


def _first_guess(spec: JobSpec) -> float:
    if isinstance(spec, BenchmarkSpec):
        rule = DURATIONS[spec.duration]
        return rule.runs * rule.max_seconds + AROUND_A_MEASUREMENT_S
    if isinstance(spec, TrainSpec):
        return spec.recipe.epochs * AN_EPOCH_S + AROUND_A_TRAINING_S
    return FIRST_GUESS_S.get(spec.kind, 60.0)


def _problems(planned: list[PlannedJob]) -> tuple[str, ...]:
    """Say which jobs no living worker can run; jobs that ask for the same are asked about once."""
    answers: dict[tuple[Any, ...], str | None] = {}
    found: Counter[str] = Counter()
    for job in planned:
        asked = (job.lane, *(getattr(job.spec, name, None) for name in ("backend", "device", "threads")))
        if asked not in answers:
            answers[asked] = what_cannot_run(job.spec, job.lane)
        found.update([answers[asked]] if answers[asked] else [])  # type: ignore[list-item]
    return tuple(
        f"{count} of {len(planned)} cannot run now. {why}" if len(planned) > 1 else f"It cannot run now. {why}"
        for why, count in found.items()
    )
