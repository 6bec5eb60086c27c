"""What a run of a study has shown so far: every arm's mean over its trainings, and the differences that answer the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from detection_core.catalogue.studies import Arm, Comparison, Study
from detection_core.evaluation.paired import SIGNIFICANCE, holm
from detection_core.evaluation.seeds import SeedDifference, SeedMean, difference_over_seeds, mean_over_seeds
from webapp.jobs.models import Job
from webapp.jobs.presentation import KIND_TITLES
from webapp.jobs.states import State
from webapp.results.comparable import UNFIT, accuracy_flags, bootstrap_of, draws_obstacle, draws_of
from webapp.results.models import Evaluation, LatencyMeasurement
from webapp.studies.selectors import Found

SIZES = {"ap_small": "AP small", "ap_medium": "AP medium", "ap_large": "AP large"}
Draws = np.ndarray | None


@dataclass(frozen=True)
class Training:
    """One training of an arm, tested on one data set. `draws` of AP are None where none are stored."""

    seed: int
    job: Job
    evaluation: Evaluation
    draws: Draws
    latency: LatencyMeasurement | None = None

    @property
    def ap(self) -> float | None:
        """Return its AP."""
        return self.evaluation.ap

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Return the stored 95% interval of its AP."""
        stored = bootstrap_of(self.evaluation).get("intervals", {}).get("ap") or {}
        return stored.get("low"), stored.get("high")

    @property
    def p50_ms(self) -> float | None:
        """Return its median latency, where it was timed."""
        return self.latency.p50_ms if self.latency else None


@dataclass(frozen=True)
class Missing:
    """A training of an arm that has no evaluation: which job stands in the way, and why."""

    arm: Arm
    seed: int
    tested: str
    job: Job
    words: str


@dataclass(frozen=True)
class Cell:
    """An arm tested on one data set."""

    tested: str
    title: str
    trainings: tuple[Training, ...]
    planned: int
    ap: SeedMean | None

    @property
    def count(self) -> str:
        """Say how many of the planned trainings are in it."""
        return f"{len(self.trainings)} of {self.planned}"


@dataclass(frozen=True)
class ArmRow:
    """An arm with what was found of it. `sizes` are title, mean, and the paper's number; `latency_ms` is the mean p50."""

    arm: Arm
    cells: tuple[Cell, ...]
    sizes: tuple[tuple[str, float | None, float | None], ...]
    latency_ms: float | None
    latency_flags: tuple[str, ...]

    @property
    def count(self) -> str:
        """Say how many of the planned trainings are in the first cell."""
        return self.cells[0].count


@dataclass(frozen=True)
class Difference:
    """A comparison with what was found. `p_holm` is corrected for all comparisons of the study; only it decides."""

    comparison: Comparison
    arm: Arm
    baseline: Arm
    tested: str
    found: SeedDifference | None
    p_holm: float | None
    obstacle: str

    @property
    def winner(self) -> Arm | None:
        """The arm that beats the other, None where no difference is shown."""
        if self.found is None or self.p_holm is None or self.p_holm >= SIGNIFICANCE or self.found.low <= 0 <= self.found.high:
            return None
        return self.arm if self.found.difference > 0 else self.baseline


@dataclass(frozen=True)
class Outcome:
    """Everything that a study's page shows of one run; without a run the arms are empty."""

    study: Study
    rows: tuple[ArmRow, ...]
    differences: tuple[Difference, ...]
    missing: tuple[Missing, ...]
    data: tuple[str, ...]
    conditions: str
    machines: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Say whether any arm has a number."""
        return any(cell.ap for row in self.rows for cell in row.cells)


def outcome_of(study: Study, found: Found | None) -> Outcome:
    """Put what a run has found into the order of the study's arms and comparisons; None is a study that never ran."""
    jobs = _jobs_by_label(found.jobs if found else [])
    seeds = {arm.name: sorted({seed for name, seed, kind, _ in jobs if name == arm.name and kind == "train"}) for arm in study.arms}
    rows = tuple(_row(study, arm, seeds[arm.name], jobs, found) for arm in study.arms)
    trainings = [training for row in rows for cell in row.cells for training in cell.trainings]
    latencies = [training.latency for training in trainings if training.latency]
    return Outcome(
        study=study,
        rows=rows,
        differences=_differences(study, rows),
        missing=tuple(one for arm in study.arms for one in _missing(study, arm, seeds[arm.name], jobs, found)),
        data=tuple(dict.fromkeys(f"{one.evaluation.dataset_version} {one.evaluation.split}" for one in trainings)),
        conditions=_conditions(found.jobs if found else []),
        machines=tuple(dict.fromkeys(f"{one.environment.title}, {one.duration}" for one in latencies)),
    )


Label = tuple[str, int, str, str]  # arm, seed, kind of job, data that it is tested on


def _jobs_by_label(jobs: Sequence[Job]) -> dict[Label, Job]:
    labelled = [job for job in jobs if "arm" in job.labels]
    return {(job.labels["arm"], job.labels["seed"], job.kind, job.labels.get("tested", "")): job for job in labelled}


def _conditions(jobs: Sequence[Job]) -> str:
    """Say how long each training was, from the first one."""
    recipe = next((job.spec["recipe"] for job in jobs if job.kind == "train"), None)
    if recipe is None:
        return ""
    minutes = recipe.get("max_minutes")
    parts = [f"at most {minutes:g} min" if minutes else f"{recipe['epochs']} epochs"]
    if recipe.get("input_size"):
        parts.append(f"{recipe['input_size']} px")
    return ", ".join([*parts, f"batches of {recipe['batch_size']}"])


def _row(study: Study, arm: Arm, seeds: Sequence[int], jobs: dict[Label, Job], found: Found | None) -> ArmRow:
    cells = tuple(_cell(study, arm, seeds, tested, jobs, found) for tested in study.tests)
    latencies = [training.latency for training in cells[0].trainings if training.latency]
    return ArmRow(
        arm=arm,
        cells=cells,
        sizes=tuple((title, _mean_of(_metrics(cells[0], name)), getattr(arm.paper, name, None)) for name, title in SIZES.items()),
        latency_ms=_mean_of([latency.p50_ms for latency in latencies]),
        latency_flags=tuple(dict.fromkeys(flag for latency in latencies for flag in latency.flags)),
    )


def _cell(study: Study, arm: Arm, seeds: Sequence[int], tested: str, jobs: dict[Label, Job], found: Found | None) -> Cell:
    trainings = []
    for seed in seeds:
        job, timed = jobs.get((arm.name, seed, "evaluate", tested)), jobs.get((arm.name, seed, "benchmark", tested))
        evaluation = found.evaluations.get(job.pk) if found and job else None
        if not found or not job or not evaluation or evaluation.ap is None:
            continue
        draws = draws_of(found.curves.get(job.pk)).get("ap")
        trainings.append(Training(seed, job, evaluation, draws, found.latencies.get(timed.pk) if timed else None))
    return Cell(tested, study.data_label(tested), tuple(trainings), planned=len(seeds), ap=_mean(trainings))


def _mean(trainings: Sequence[Training]) -> SeedMean | None:
    """The interval needs the draws of all trainings, and that they are the same."""
    if not trainings:
        return None
    obstacles = [_obstacle(trainings[0], one) for one in trainings]
    draws = [] if any(obstacles) else [one.draws for one in trainings if one.draws is not None]
    return mean_over_seeds([one.ap for one in trainings if one.ap is not None], draws)


def _metrics(cell: Cell, name: str) -> list[float]:
    values = [training.evaluation.result["metrics"][name] for training in cell.trainings]
    return [value for value in values if value is not None]


def _mean_of(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _missing(study: Study, arm: Arm, seeds: Sequence[int], jobs: dict[Label, Job], found: Found | None) -> list[Missing]:
    """Trainings without an evaluation; one that failed itself is told once, whatever was to be tested with it."""
    told = []
    for seed in seeds:
        train = jobs[arm.name, seed, "train", ""]
        if train.state != State.SUCCEEDED:
            told.append(Missing(arm, seed, "", train, _state_words(train)))
            continue
        for tested in study.tests:
            label = study.data_label(tested)
            for kind in ("evaluate", "benchmark") if study.latency else ("evaluate",):
                job = jobs.get((arm.name, seed, kind, tested))
                if job is not None and job.state != State.SUCCEEDED:
                    told.append(Missing(arm, seed, label, job, _state_words(job)))
                elif kind == "evaluate" and job is not None and found and _without_ap(found, job):
                    told.append(Missing(arm, seed, label, job, "has no AP: no object of the split defines it"))
    return told


def _without_ap(found: Found, job: Job) -> bool:
    evaluation = found.evaluations.get(job.pk)
    return evaluation is None or evaluation.ap is None


def _state_words(job: Job) -> str:
    kind = KIND_TITLES.get(job.kind, job.kind).lower()
    why = job.failure_message.partition("\n")[0] if job.state == State.FAILED else ""
    return f"{kind} {job.state}" + (f": {why}" if why else "")


def _differences(study: Study, rows: Sequence[ArmRow]) -> tuple[Difference, ...]:
    """Every comparison on the seeds that both arms have, with Holm's correction over those that could be made."""
    cells = {(row.arm.name, cell.tested): cell for row in rows for cell in row.cells}
    found: list[SeedDifference | None] = []
    obstacles = []
    for one in study.comparisons:
        difference, obstacle = _compared(cells[one.arm, one.data], cells[one.baseline, one.data])
        found.append(difference)
        obstacles.append(obstacle)
    corrected = iter(holm([one.p for one in found if one is not None]))
    return tuple(
        Difference(
            comparison=one,
            arm=study.arm(one.arm),
            baseline=study.arm(one.baseline),
            tested=study.data_label(one.data),
            found=difference,
            p_holm=None if difference is None else next(corrected),
            obstacle=obstacle,
        )
        for one, difference, obstacle in zip(study.comparisons, found, obstacles, strict=True)
    )


def _compared(first: Cell, second: Cell) -> tuple[SeedDifference | None, str]:
    by_seed = {training.seed: training for training in second.trainings}
    pairs = [(training, by_seed[training.seed]) for training in first.trainings if training.seed in by_seed]
    if not pairs:
        return None, "no seed has both yet"
    for pair in pairs:
        # All draws are averaged, so every evaluation must share them with the first.
        for one in pair:
            if obstacle := _obstacle(pairs[0][0], one):
                return None, obstacle
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    difference = difference_over_seeds(_aps(ours), _draws(ours), _aps(theirs), _draws(theirs))
    return difference, "" if difference else "undefined: most draws hold no object"


def _aps(trainings: Sequence[Training]) -> list[float]:
    return [one.ap for one in trainings if one.ap is not None]


def _draws(trainings: Sequence[Training]) -> list[np.ndarray]:
    return [one.draws for one in trainings if one.draws is not None]


def _obstacle(first: Training, second: Training) -> str:
    one, other = first.evaluation, second.evaluation
    for flag, why in UNFIT.items():
        if flag in accuracy_flags(one) or flag in accuracy_flags(other):
            return why
    if one.dataset_version.content_hash != other.dataset_version.content_hash or one.split != other.split:
        return "other images: evaluate both on the same data set version and split"
    return draws_obstacle(bootstrap_of(one), bootstrap_of(other), drawn=first.draws is not None and second.draws is not None)
