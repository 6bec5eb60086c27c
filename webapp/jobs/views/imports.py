"""Importing a data set: an upload or a built-in one becomes an import job."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from detection_core.catalogue.datasets import DATASETS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportSpec
from webapp.accounts.models import User
from webapp.artifacts.services import artifact_put_stream
from webapp.datasets.forms import ImportForm
from webapp.datasets.services import dataset_describe
from webapp.datasets.uploads import limit_upload, too_large
from webapp.jobs.models import Job
from webapp.jobs.services import job_create


# The handler that limits an upload has to be in place before the CSRF check reads the form.
@csrf_exempt
def dataset_import(request: HttpRequest) -> HttpResponse:
    """Show the import form, or queue the import."""
    limit_upload(request)
    return _dataset_import(request)


@csrf_protect
@login_required
@require_http_methods(["GET", "POST"])
def _dataset_import(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _page(request, ImportForm())
    posted = request.POST  # read first: that is when the upload is taken or refused
    refusal = too_large(request)
    form = ImportForm(posted, request.FILES, refusal=refusal)
    if not form.is_valid():
        return _page(request, form, status=413 if refusal else 400)
    try:
        job = _queue(form, request.user)  # type: ignore[arg-type]
    except InvalidInput as error:
        form.add_error(None, str(error))
        return _page(request, form, status=400)
    target = redirect("job-detail", uuid=job.uuid)
    return JsonResponse({"url": target.url}) if _asks_for_json(request) else target


def _queue(form: ImportForm, user: User) -> Job:
    chosen = form.cleaned_data
    source = InputFile(ref=chosen["origin"], name=chosen["origin"])
    if chosen["origin"] == "upload":
        upload = chosen["file"]
        artifact = artifact_put_stream(
            chunks=upload.chunks(1 << 20), kind="upload", name=upload.name[:200], user=user, max_bytes=settings.UPLOAD_MAX_BYTES
        )
        source = InputFile(sha256=artifact.sha256, name=upload.name[:200])
    spec = ImportSpec.parse({"source": source.to_dict(), "name": chosen["name"], "class_names": chosen["class_names"]})
    dataset_describe(name=chosen["name"], licence=chosen["licence"], source=chosen["source"], user=user)
    return job_create(spec=spec, user=user, title=chosen["name"])


def _page(request: HttpRequest, form: ImportForm, *, status: int = 200) -> HttpResponse:
    if _asks_for_json(request):
        problems = [str(error) for errors in form.errors.values() for error in errors]
        return JsonResponse({"problems": problems}, status=status)
    context = {"form": form, "builtins": DATASETS.values(), "max_bytes": settings.UPLOAD_MAX_BYTES}
    return render(request, "datasets/import.html", context, status=status)


def _asks_for_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json"
