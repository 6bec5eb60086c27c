"""Bringing in what was made elsewhere: a model file becomes a model, a file of detections is scored."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from detection_core.catalogue.layouts import LAYOUTS
from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.datasets.uploads import too_large
from webapp.jobs.forms.foreign import ImportModelForm, ScoreForm, UploadForm
from webapp.jobs.services import job_create, suite_create
from webapp.jobs.views.uploading import takes_upload, upload_done, upload_page, upload_store


@takes_upload
def model_import(request: HttpRequest) -> HttpResponse:
    """Show the form that brings a model in, or queue what it says."""
    context = {"layouts": LAYOUTS.values()}
    return _answer(request, ImportModelForm, "jobs/import_model.html", context, files=("file",))


@takes_upload
def score(request: HttpRequest) -> HttpResponse:
    """Show the form that scores a results file, or queue the scoring."""
    return _answer(request, ScoreForm, "jobs/score.html", {}, files=("predictions", "ground_truth"))


def _answer(
    request: HttpRequest, form_class: type[UploadForm], template: str, context: dict[str, Any], *, files: tuple[str, ...]
) -> HttpResponse:
    if request.method != "POST":
        chosen = {name: request.GET[name] for name in ("dataset", "truth", "split", "layout") if request.GET.get(name)}
        return upload_page(request, template, form_class(initial=chosen), context)
    posted = request.POST  # read first: that is when the upload is taken or refused
    refusal = too_large(request)
    form = form_class(posted, request.FILES, refusal=refusal)
    if not form.is_valid():
        return upload_page(request, template, form, context, status=413 if refusal else 400)
    try:
        url = _queue(form, request.user, files)  # type: ignore[arg-type]
        if form.advice:
            messages.warning(request, form.advice)
        return upload_done(request, url)
    except InvalidInput as error:
        form.add_error(None, str(error))
        return upload_page(request, template, form, context, status=400)


def _queue(form: UploadForm, user: User, files: tuple[str, ...]) -> str:
    """Store the files that the first job reads, then queue the jobs; returns the address of what was made."""
    read = [name for name in files if getattr(form.planned[0].spec, name) is not None]
    form.attach(**{name: upload_store(form.cleaned_data[name], user=user) for name in read})
    first, key = form.planned[0], form.idempotency_key
    if len(form.planned) == 1:
        job = job_create(spec=first.spec, user=user, title=first.title, lane=first.lane, idempotency_key=key)
        return reverse("job-detail", args=[job.uuid])
    suite = suite_create(name=form.title, user=user, jobs=form.planned, idempotency_key=key)
    return reverse("suite-detail", args=[suite.uuid])
