"""What people do to jobs."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from detection_core.schemas.base import InvalidInput
from webapp.jobs import services
from webapp.jobs.models import Job, Suite
from webapp.jobs.states import ACTIVE


@login_required
@require_POST
def job_cancel(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Cancel a job and say what happens now."""
    return _act(request, uuid, services.job_cancel)


@login_required
@require_POST
def job_retry(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Queue a failed or cancelled job again."""
    return _act(request, uuid, services.job_retry)


@login_required
@require_POST
def suite_cancel(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Cancel every job of a suite that has not ended."""
    suite = get_object_or_404(Suite, uuid=uuid)
    for job in suite.jobs.filter(state__in=ACTIVE).order_by("id"):
        try:
            services.job_cancel(job=job, user=request.user)  # type: ignore[arg-type]
        except InvalidInput:
            continue  # it ended meanwhile, or with the job that it waited for
    return redirect("suite-detail", uuid=uuid)


def _act(request: HttpRequest, uuid: UUID, act: Callable[..., Job]) -> HttpResponse:
    job = get_object_or_404(Job, uuid=uuid)
    try:
        act(job=job, user=request.user)
    except InvalidInput as error:
        text = str(error)
        messages.error(request, f"{text[:1].upper()}{text[1:]}.")
    return redirect("job-detail", uuid=uuid)
