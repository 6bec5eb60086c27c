"""Following a job: its news as server-sent events, its log, its spec."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from webapp.jobs.live import stream
from webapp.jobs.models import Job
from webapp.jobs.portable import portable_spec, spec_headers
from webapp.jobs.selectors import log_text


async def job_stream(request: HttpRequest, uuid: UUID) -> HttpResponseBase:
    """Send what happens to a job from the event on that the page knows last, until the job is final."""
    job_id = await Job.objects.filter(uuid=uuid).values_list("id", flat=True).afirst()
    if job_id is None:
        # Not Http404: in an async view Django renders that page in a thread whose database connection nobody gives back.
        return HttpResponseNotFound("there is no such job", content_type="text/plain")
    known = request.headers.get("Last-Event-ID") or request.GET.get("after") or "0"
    response = StreamingHttpResponse(stream(job_id, after=int(known) if known.isdecimal() else 0), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


@require_GET
def job_log(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Send an attempt's log as text: whole as a file, or from a byte offset on for the page that follows it."""
    job = get_object_or_404(Job, uuid=uuid)
    attempt, offset = _number(request, "attempt", job.attempt), _number(request, "offset", 0)
    response = HttpResponse(log_text(job, attempt, offset), content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "no-store"
    if "offset" not in request.GET:
        response["Content-Disposition"] = f'attachment; filename="job-{str(job.uuid)[:8]}-attempt-{attempt}.log"'
    return response


@require_GET
def job_spec(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Send the spec as a file that `python -m detection_core run` takes on any machine."""
    job = get_object_or_404(Job, uuid=uuid)
    return JsonResponse(portable_spec(job), json_dumps_params={"indent": 2}, headers=spec_headers(job))


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, "")
    return int(text[:15]) if text.isdecimal() else default
