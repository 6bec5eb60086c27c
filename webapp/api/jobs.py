"""Jobs and suites: submit, watch, cancel, retry."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Header, Router, Schema, Status
from ninja.errors import HttpError

from detection_core.schemas.specs import parse_spec
from webapp.api.auth import ACT, READ, caller
from webapp.api.present import job_out, suite_out
from webapp.api.schemas import EventOut, JobDetailOut, JobOut, JobPage, LogOut, OutputOut, Problem, SuiteOut
from webapp.jobs import selectors, services
from webapp.jobs.models import Job, Suite
from webapp.jobs.pipeline import PipelineRequest, pipeline_plan
from webapp.jobs.portable import portable_spec, spec_headers

router = Router()
IDEMPOTENCY = Header(
    None, alias="Idempotency-Key", max_length=200, description="the same key gives the same answer and queues nothing twice"
)


class JobIn(Schema):
    """One job: its spec (see the specs of detection_core) and where it should run."""

    spec: dict[str, Any]
    lane: str = "cpu"
    title: str = ""


def _job(uuid: UUID) -> Job:
    job = selectors.job_get(uuid)
    if job is None:
        raise HttpError(404, "no job has this id; GET /api/v1/jobs lists them")
    return job


@router.post("/jobs", auth=ACT, response={201: JobOut, 422: Problem}, operation_id="job_create")
def job_create(request: HttpRequest, body: JobIn, key: str | None = IDEMPOTENCY) -> Status:
    """Queue one job."""
    spec = parse_spec(body.spec)
    job = services.job_create(spec=spec, user=caller(request), title=body.title, lane=body.lane, idempotency_key=key)
    return Status(201, job_out(job))


@router.get("/jobs", auth=READ, response=JobPage, operation_id="jobs")
def jobs(request: HttpRequest, state: str = "", kind: str = "", suite: UUID | None = None, search: str = "", page: int = 1) -> JobPage:
    """List jobs, the newest first."""
    found = selectors.job_list(state=state, kind=kind, suite=suite, search=search, page=page, per_page=100)
    return JobPage(items=[job_out(row) for row in found.jobs], total=found.total, page=found.page, pages=found.pages)


@router.get("/jobs/{uuid}", auth=READ, response={200: JobDetailOut, 404: Problem}, operation_id="job")
def job(request: HttpRequest, uuid: UUID) -> JobDetailOut:
    """Show one job: state, progress, why it waits, result and outputs."""
    row = _job(uuid)
    outputs = [
        OutputOut(role=output.role, name=output.name, sha256=output.artifact_id, size=output.artifact.size)
        for output in row.outputs.select_related("artifact").order_by("id")
    ]
    shown = job_out(row, waiting_because=selectors.why_waiting(row) if row.state in ("waiting", "queued") else "")
    return JobDetailOut(**shown.dict(), result=row.result, outputs=outputs)


@router.post("/jobs/{uuid}/cancel", auth=ACT, response={200: JobOut, 404: Problem, 422: Problem}, operation_id="job_cancel")
def job_cancel(request: HttpRequest, uuid: UUID) -> JobOut:
    """Cancel a job. A running one is killed first; its state is `cancelling` until that is proved."""
    return job_out(services.job_cancel(job=_job(uuid), user=caller(request)))


@router.post("/jobs/{uuid}/retry", auth=ACT, response={200: JobOut, 404: Problem, 422: Problem}, operation_id="job_retry")
def job_retry(request: HttpRequest, uuid: UUID) -> JobOut:
    """Queue a failed or cancelled job again; a training goes on from its last saved state."""
    return job_out(services.job_retry(job=_job(uuid), user=caller(request)))


@router.get("/jobs/{uuid}/events", auth=READ, response={200: list[EventOut], 404: Problem}, operation_id="job_events")
def job_events(request: HttpRequest, uuid: UUID, after: int = 0, limit: int = 1000) -> list[EventOut]:
    """List the job's events with a sequence number above `after`."""
    rows = selectors.events_after(_job(uuid), after, min(max(limit, 1), 5000))
    return [EventOut(seq=row.seq, attempt=row.attempt, type=row.type, data=row.data, created_at=row.created_at) for row in rows]


@router.get("/jobs/{uuid}/log", auth=READ, response={200: LogOut, 404: Problem}, operation_id="job_log")
def job_log(request: HttpRequest, uuid: UUID, attempt: int | None = None, offset: int = 0) -> LogOut:
    """Show the log of an attempt (the last one by default) from byte `offset`."""
    row = _job(uuid)
    text = selectors.log_text(row, attempt=attempt, offset=offset)
    return LogOut(attempt=attempt or row.attempt, offset=offset, next_offset=offset + len(text.encode()), text=text)


@router.get("/jobs/{uuid}/spec", auth=READ, response={200: dict[str, Any], 404: Problem}, operation_id="job_spec")
def job_spec(request: HttpRequest, uuid: UUID, response: HttpResponse) -> dict[str, Any]:
    """Download the job's spec; `python -m detection_core run SPEC.json --out DIR` does the job again, with no server."""
    row = _job(uuid)
    for name, value in spec_headers(row).items():
        response[name] = value
    return portable_spec(row)


@router.post("/suites", auth=ACT, response={201: SuiteOut, 422: Problem}, operation_id="suite_create")
def suite_create(request: HttpRequest, body: PipelineRequest, key: str | None = IDEMPOTENCY) -> Status:
    """Queue the pipeline for several models: train, export, evaluate and time each."""
    plan = pipeline_plan(body, threads=selectors.lane_threads(body.lane))
    suite = services.suite_create(name=body.title, user=caller(request), jobs=plan, idempotency_key=key)
    return Status(201, suite_out(suite))


@router.get("/suites/{uuid}", auth=READ, response={200: SuiteOut, 404: Problem}, operation_id="suite")
def suite(request: HttpRequest, uuid: UUID) -> SuiteOut:
    """Show a suite with its jobs in the order they were submitted."""
    row = Suite.objects.filter(uuid=uuid).first()
    if row is None:
        raise HttpError(404, "no suite has this id")
    return suite_out(row)
