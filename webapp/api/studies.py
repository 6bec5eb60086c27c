"""Studies: what can be asked, what was found, and queueing one."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema, Status
from ninja.errors import HttpError

from detection_core.catalogue.studies import STUDIES, Study
from webapp.api.auth import ACT, READ, caller
from webapp.api.jobs import IDEMPOTENCY
from webapp.api.present import address, suite_out
from webapp.api.schemas import Problem, SuiteOut
from webapp.jobs.selectors import lane_threads
from webapp.studies.outcome import ArmRow, Difference, outcome_of
from webapp.studies.plan import StudyChoices, StudyRequest, study_plan
from webapp.studies.selectors import StudyRun, run_found, run_shown, study_runs
from webapp.studies.services import study_queue
from webapp.studies.words import difference_words, outcome_sentences

router = Router()
NO_STUDY = "there is no study of this name; GET /api/v1/studies lists them"


class StudyOut(Schema):
    """A question that a paper answered; `trainings` is how many a run has by default."""

    name: str
    title: str
    question: str
    papers: list[str]
    arms: list[str]
    trainings: int
    url: str


class RunOut(Schema):
    """One suite of a study."""

    suite: UUID
    name: str
    complete: bool
    words: str


class TestedOut(Schema):
    """An arm tested on one data set of the study: the mean AP (0..1) over its trainings, the 95% interval of the images, the standard
    deviation between trainings."""

    tested: str
    trainings: int
    planned: int
    ap: float | None
    ap_low: float | None
    ap_high: float | None
    ap_sd: float | None


class ArmOut(Schema):
    """An arm with what was found of it. `sizes` are mean AP small, medium and large; `p50_ms` the mean median latency."""

    name: str
    label: str
    model: str
    tested: list[TestedOut]
    sizes: dict[str, float | None]
    p50_ms: float | None
    paper_ap: float | None
    paper_source: str


class DifferenceOut(Schema):
    """AP of `arm` less that of `baseline`, 0..1, with its 95% interval; `shown` is the arm that beats the other."""

    arm: str
    baseline: str
    tested: str
    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    seeds: int
    shown: str | None
    verdict: str
    paper_difference: float | None
    paper_source: str


class StudyDetailOut(StudyOut):
    """A study with its runs and what the one that is shown has found."""

    runs: list[RunOut]
    shown: UUID | None
    sentences: list[str]
    found: list[ArmOut]
    differences: list[DifferenceOut]
    missing: list[str]


@router.get("/studies", auth=READ, response=list[StudyOut], operation_id="studies")
def studies(request: HttpRequest) -> list[StudyOut]:
    """List the studies."""
    return [_study_out(study) for study in STUDIES.values()]


@router.get("/studies/{name}", auth=READ, response={200: StudyDetailOut, 404: Problem}, operation_id="study")
def study(request: HttpRequest, name: str, suite: UUID | None = None) -> StudyDetailOut:
    """Show what one run of a study has found: that of `suite`, else the newest complete one, else the newest."""
    subject = _study(name)
    runs = study_runs(name)
    run = run_shown(runs, name=name, wanted=suite)
    if suite is not None and run is None:
        raise HttpError(404, f"the study '{name}' has no run with this id; GET /api/v1/studies/{name} lists them")
    outcome = outcome_of(subject, run_found(run) if run else None)
    return StudyDetailOut(
        **_study_out(subject).dict(),
        runs=[_run_out(one) for one in runs],
        shown=run.suite.uuid if run else None,
        sentences=outcome_sentences(outcome),
        found=[_arm_out(row) for row in outcome.rows],
        differences=[_difference_out(one) for one in outcome.differences],
        missing=[f"{one.arm.label}, seed {one.seed}: {one.words}" for one in outcome.missing],
    )


@router.post("/studies/{name}", auth=ACT, response={201: SuiteOut, 404: Problem, 422: Problem}, operation_id="study_create")
def study_create(request: HttpRequest, name: str, body: StudyChoices, key: str | None = IDEMPOTENCY) -> Status:
    """Queue a run of a study: every arm with every seed is trained, evaluated and, where the study asks for it, timed."""
    wanted = StudyRequest.parse({"study": _study(name).name, **body.model_dump()})
    plan = study_plan(wanted, threads=lane_threads(wanted.lane))
    return Status(201, suite_out(study_queue(request=wanted, user=caller(request), jobs=plan, idempotency_key=key)))


def _study(name: str) -> Study:
    if name not in STUDIES:
        raise HttpError(404, NO_STUDY)
    return STUDIES[name]


def _study_out(one: Study) -> StudyOut:
    return StudyOut(
        name=one.name,
        title=one.title,
        question=one.question,
        papers=[paper.title for paper in one.papers],
        arms=[arm.name for arm in one.arms],
        trainings=len(one.arms) * len(one.seeds),
        url=address("study-detail", one.name),
    )


def _run_out(run: StudyRun) -> RunOut:
    return RunOut(suite=run.suite.uuid, name=run.suite.name, complete=run.complete, words=run.words)


def _arm_out(row: ArmRow) -> ArmOut:
    tested = [
        TestedOut(
            tested=cell.tested,
            trainings=len(cell.trainings),
            planned=cell.planned,
            ap=cell.ap.mean if cell.ap else None,
            ap_low=cell.ap.low if cell.ap else None,
            ap_high=cell.ap.high if cell.ap else None,
            ap_sd=cell.ap.sd if cell.ap else None,
        )
        for cell in row.cells
    ]
    return ArmOut(
        name=row.arm.name,
        label=row.arm.label,
        model=row.arm.model,
        tested=tested,
        sizes={title: mean for title, mean, _ in row.sizes},
        p50_ms=row.latency_ms,
        paper_ap=row.arm.paper.ap if row.arm.paper else None,
        paper_source=row.arm.paper.source if row.arm.paper else "",
    )


def _difference_out(one: Difference) -> DifferenceOut:
    found = one.found
    return DifferenceOut(
        arm=one.arm.name,
        baseline=one.baseline.name,
        tested=one.comparison.data,
        difference=found.difference if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p_holm=one.p_holm,
        seeds=found.seeds if found else 0,
        shown=one.winner.name if one.winner else None,
        verdict=difference_words(one),
        paper_difference=one.comparison.paper,
        paper_source=one.comparison.source,
    )
