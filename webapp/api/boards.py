"""What was found: results, the front, checkpoints."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from ninja import Router
from ninja.errors import HttpError

from webapp.api.auth import READ
from webapp.api.present import checkpoint_out, comparison_out, result_out
from webapp.api.schemas import CheckpointOut, ComparisonOut, FrontOut, Problem, ResultPage
from webapp.compare.selectors import FEWEST, NUMBERS, chosen_results, verdicts
from webapp.results.export import FORMATS
from webapp.results.models import Checkpoint
from webapp.results.selectors import BoardFilters, evaluated_job, front_groups, output_of, result_board, result_get, result_query

router = Router(auth=READ)
MOST_POINTS = 2000


@router.get("/results", response={200: ResultPage, 422: Problem}, operation_id="results")
def results(request: HttpRequest, format: str = "json", page: int = 1, per_page: int = 100) -> Any:
    """List results. Filters: dataset, environment, group, suite, family, model, backend, dtype, duration, split, threads, licence,
    search, show=all; sort by any shown column (`-ap`); format json, csv or md."""
    if format not in FORMATS:
        raise HttpError(422, f"format '{format}' is not known; use json, csv or md")
    found = result_board(BoardFilters.from_query(request.GET), per_page=min(max(per_page, 1), 1000))
    if format == "json":
        return ResultPage(items=[result_out(row) for row in found.rows], total=found.total, page=found.number, pages=found.pages)
    content_type, write = FORMATS[format]
    return HttpResponse(write(found.rows), content_type=content_type)


@router.get("/results/{uuid}", response={200: dict[str, Any], 404: Problem}, operation_id="result")
def result(request: HttpRequest, uuid: UUID) -> dict[str, Any]:
    """Show one result whole: its row, the evaluation and the latency measurement with environment, protocol and raw files."""
    row = result_get(uuid)
    if row is None:
        raise HttpError(404, "no result has this id; GET /api/v1/results lists them")
    shown = result_out(row).dict()
    shown["evaluation"] = row.evaluation.result if row.evaluation else None
    shown["latency"] = row.latency.result if row.latency else None
    shown["artifact"] = {"sha256": row.exported_model.artifact_id, "size": row.exported_model.artifact.size}
    shown["detections_sha256"] = row.evaluation.detections_id if row.evaluation else None
    shown["samples_sha256"] = row.latency.samples_id if row.latency else None
    return shown


@router.get("/evaluations/{uuid}/examples", response={302: None, 404: Problem}, operation_id="evaluation_examples")
def evaluation_examples(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Go to the file of an evaluate or score job's images: ground truth and detections of each with what became of them, gzipped JSON."""
    job = evaluated_job(uuid)
    examples = output_of(job, "examples") if job else None
    if examples is None:
        raise HttpError(404, "no finished evaluation of this id kept its images; GET /api/v1/jobs?kind=evaluate lists evaluations")
    return HttpResponseRedirect(reverse("api:artifact", args=[examples.sha256]))


@router.get("/frontier", response=list[FrontOut], operation_id="frontier")
def frontier(request: HttpRequest) -> list[FrontOut]:
    """List the groups that match the filters with their points; a front is drawn within one group only."""
    filters = BoardFilters.from_query(request.GET)
    groups = [group for group in front_groups(filters) if not filters.group or group.key == filters.group]
    keys = [group.key for group in groups]
    rows = list(result_query(filters).filter(group_key__in=keys)[:MOST_POINTS])
    return [
        FrontOut(group=group.key, title=group.title, points=[result_out(row) for row in rows if row.group_key == group.key])
        for group in groups
    ]


@router.get("/comparisons", response={200: list[ComparisonOut], 422: Problem}, operation_id="comparisons")
def comparisons(request: HttpRequest, results: str, number: str = "ap") -> list[ComparisonOut]:
    """Compare two to eight results (their ids, comma separated) pair by pair on the same draws of the images, by one of their numbers."""
    if number not in NUMBERS:
        raise HttpError(422, f"number '{number}' is not compared; use one of {', '.join(NUMBERS)}")
    chosen = chosen_results(results)
    if len(chosen) < FEWEST:
        raise HttpError(422, f"{len(chosen)} of these ids are results; give two to eight, comma separated")
    return [comparison_out(verdict) for verdict in verdicts(chosen, number=number)]


@router.get("/checkpoints", response=list[CheckpointOut], operation_id="checkpoints")
def checkpoints(request: HttpRequest, model: str = "", job: UUID | None = None) -> list[CheckpointOut]:
    """List checkpoints, the newest first."""
    query = Checkpoint.objects.select_related("artifact", "job", "dataset_version__dataset").order_by("-id")
    query = query.filter(model=model) if model else query
    query = query.filter(job__uuid=job) if job else query
    return [checkpoint_out(row) for row in query[:500]]


@router.get("/checkpoints/{uuid}", response={200: CheckpointOut, 404: Problem}, operation_id="checkpoint")
def checkpoint(request: HttpRequest, uuid: UUID) -> CheckpointOut:
    """Show one checkpoint; `download` is its address."""
    row = Checkpoint.objects.select_related("artifact", "job", "dataset_version__dataset").filter(uuid=uuid).first()
    if row is None:
        raise HttpError(404, "no checkpoint has this id; GET /api/v1/checkpoints lists them")
    return checkpoint_out(row)
