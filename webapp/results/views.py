"""The leaderboard, one result, and the download of a checkpoint."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, HttpResponseNotFound
from django.shortcuts import render

from webapp.artifacts.http import artifact_response
from webapp.results.accuracy import Accuracy, accuracy_of
from webapp.results.board import board_heads, board_rows
from webapp.results.export import FORMATS, MOST_ROWS
from webapp.results.forms import board_chips
from webapp.results.models import Checkpoint, Result
from webapp.results.presentation import (
    checkpoint_filename,
    commands,
    environment_facts,
    flag_meanings,
    metric_rows,
    model_filename,
    passport,
    protocol_facts,
    stage_rows,
    unknown_classes,
)
from webapp.results.selectors import (
    BoardFilters,
    evaluated_job,
    evaluated_result,
    evaluated_version,
    output_of,
    result_board,
    result_get,
    result_query,
    results_with_relations,
)

MOST_RELATED = 10
# What the URL holds beside the chips and must outlive a change of one.
KEPT_FIELDS = ("group", "suite", "model", "licence", "sort")


def leaderboard(request: HttpRequest) -> HttpResponse:
    """Show the board: filtered, sorted and paged by the URL; `format` gives it as a file."""
    filters = BoardFilters.from_query(request.GET)
    if wanted := request.GET.get("format"):
        return _board_file(filters, wanted)
    page = result_board(filters)
    context = {
        "filters": filters,
        "page": page,
        "rows": board_rows(page, filters),
        "heads": board_heads(filters),
        "chips": board_chips(filters),
        "kept_fields": KEPT_FIELDS,
        "any_results": bool(page.total) or Result.objects.exists(),
    }
    return render(request, "results/leaderboard.html", context)


def _board_file(filters: BoardFilters, wanted: str) -> HttpResponse:
    if wanted not in FORMATS:
        return HttpResponseBadRequest(
            f"format '{wanted}' is not known; use one of {', '.join(FORMATS)}\n", content_type="text/plain; charset=utf-8"
        )
    content_type, write = FORMATS[wanted]
    text = write(result_query(filters)[:MOST_ROWS].iterator(chunk_size=1000))
    headers = {"Content-Disposition": f'attachment; filename="leaderboard.{wanted}"'}
    return HttpResponse(text, content_type=content_type, headers=headers)


def result_detail(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show one result whole: numbers, stages, machine, protocol, files."""
    row = result_get(uuid)
    if row is None:
        raise Http404("no result has this id")
    measured = row.latency or row.evaluation
    context = {
        "result": row,
        "passport": passport(row),
        "metrics": metric_rows(row.evaluation.result["metrics"]) if row.evaluation else [],
        "accuracy": _accuracy(row),
        "looked_at": row.evaluation is not None and output_of(row.evaluation.job, "examples") is not None,
        "stages": stage_rows(row.latency),
        "flags": flag_meanings(row.flags),
        "unknown_classes": unknown_classes(row),
        "protocol": protocol_facts(row),
        "environment": environment_facts(measured.result["environment"] if measured else {}),
        "commands": commands(row),
        "checkpoint_name": checkpoint_filename(row.checkpoint) if row.checkpoint else "",
        "model_name": model_filename(row),
        "related": _related(row),
    }
    return render(request, "results/result_detail.html", context)


def _accuracy(row: Result) -> Accuracy | None:
    return accuracy_of(row.evaluation.result, output_of(row.evaluation.job, "curves")) if row.evaluation else None


def evaluation_detail(request: HttpRequest, job: UUID) -> HttpResponse:
    """Show how accurate a model file, or a results file, is: the job is an evaluation or a scoring."""
    found = evaluated_job(job)
    if found is None or found.result is None:
        raise Http404("no finished evaluation or scoring has this id")
    curves = output_of(found, "curves")
    context = {
        "job": found,
        "accuracy": accuracy_of(found.result, curves),
        "metrics": metric_rows(found.result["metrics"]),
        "result": evaluated_result(found),
        "version": evaluated_version(found),
        "looked_at": output_of(found, "examples") is not None,
        "detections": output_of(found, "detections"),
        "curves": curves,
    }
    return render(request, "results/evaluation_detail.html", context)


def _related(row: Result) -> list[Result]:
    if row.checkpoint is None:
        return []
    return list(results_with_relations().filter(checkpoint=row.checkpoint).exclude(pk=row.pk).order_by("-id")[:MOST_RELATED])


def model_results(request: HttpRequest, name: str) -> HttpResponse:
    """Give the results of one model as a part of its page."""
    page = result_board(BoardFilters(model=name, show="all"), per_page=MOST_RELATED)
    return render(request, "results/model_results.html", {"rows": page.rows, "total": page.total, "name": name})


async def checkpoint_download(request: HttpRequest, uuid: UUID) -> HttpResponseBase:
    """Send the bytes of a checkpoint."""
    checkpoint = await Checkpoint.objects.select_related("artifact").filter(uuid=uuid).afirst()
    if checkpoint is None:
        # Not Http404: in an async view Django renders that page in a thread whose database connection nobody gives back.
        return HttpResponseNotFound("no checkpoint has this id", content_type="text/plain")
    return await artifact_response(request, checkpoint.artifact, filename=checkpoint_filename(checkpoint))
