"""Importing a data set becomes an import job whose preview is looked at; freezing it with changes becomes another one."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from detection_core.catalogue.datasets import DATASETS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import DatasetEdits, ImportSpec
from webapp.accounts.models import User
from webapp.artifacts.services import artifact_put_stream
from webapp.datasets.forms import EditsForm, ImportForm, changed_fields
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads import limit_upload, too_large
from webapp.datasets.views import version_page
from webapp.jobs.models import Job
from webapp.jobs.services import job_create, version_freeze


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
        return _page(request, ImportForm(user=request.user))  # type: ignore[arg-type]
    posted = request.POST  # read first: that is when the upload is taken or refused
    refusal = too_large(request)
    form = ImportForm(posted, request.FILES, user=request.user, refusal=refusal)  # type: ignore[arg-type]
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
    if chosen["origin"] == "folder":
        source = InputFile(ref=chosen["folder"], name=chosen["name"])
    if chosen["origin"] == "upload":
        upload = chosen["file"]
        artifact = artifact_put_stream(
            chunks=upload.chunks(1 << 20), kind="upload", name=upload.name[:200], user=user, max_bytes=settings.UPLOAD_MAX_BYTES
        )
        source = InputFile(sha256=artifact.sha256, name=upload.name[:200])
    told = {"name": chosen["name"], "class_names": chosen["class_names"], "licence": chosen["licence"], "origin": chosen["source"]}
    own_data = chosen["origin"] in ("folder", "upload")
    options = {"form": chosen["annotations"]} if chosen["annotations"] and own_data else {}
    spec = ImportSpec.parse({"source": source.to_dict(), "preview": True, "options": options, **told})
    return job_create(spec=spec, user=user, title=chosen["name"])


def _page(request: HttpRequest, form: ImportForm, *, status: int = 200) -> HttpResponse:
    if _asks_for_json(request):
        problems = [str(error) for errors in form.errors.values() for error in errors]
        return JsonResponse({"problems": problems}, status=status)
    context = {
        "form": form,
        "made_here": [entry for entry in DATASETS.values() if not entry.downloads],
        "downloaded": [entry for entry in DATASETS.values() if entry.downloads],
        "folders_open": bool(settings.DATA_FOLDERS),
        "max_bytes": settings.UPLOAD_MAX_BYTES,
    }
    return render(request, "datasets/import.html", context, status=status)


def _asks_for_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json"


@login_required
@require_http_methods(["GET", "POST"])
def dataset_freeze(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Freeze a version as the form says, or show what it says in the boxes that are drawn; an address leads to the page itself."""
    version = get_object_or_404(DatasetVersion.objects.select_related("dataset", "artifact"), uuid=uuid)
    if request.method != "POST":
        return redirect(_version_address(version, request.GET.dict()))
    form, was_frozen = EditsForm(version, request.POST), version.frozen
    if request.POST.get("act") == "draw":
        return _drawn(request, version, form)
    if not form.is_valid():
        return version_page(request, version, form)
    told = {"licence": form.cleaned_data["licence"], "source": form.cleaned_data["source"]}
    told_anew = any(value and value != getattr(version.dataset, field) for field, value in told.items())
    if was_frozen and form.edits == DatasetEdits() and not told_anew:
        form.add_error(None, "nothing is changed; give a class another name, drop one, or deal the splits anew")
        return version_page(request, version, form)
    try:
        done = version_freeze(
            version=version,
            edits=form.edits,
            user=request.user,  # type: ignore[arg-type]
            token=_token(form, told),
            **told,
        )
    except InvalidInput as error:
        form.add_error(None, str(error))
        return version_page(request, version, form)
    if done.job is not None:
        return redirect("job-detail", uuid=done.job.uuid)
    messages.success(request, f"Licence and source of {version.dataset} are changed." if was_frozen else f"{version} is frozen.")
    return redirect(_version_address(version, {}))


def _token(form: EditsForm, told: dict[str, str]) -> str:
    """Sent twice, a page queues nothing twice; changed after a step back it does."""
    token = form.cleaned_data["token"]
    return f"{token} {form.edits.to_json()} {told}" if token else ""


def _drawn(request: HttpRequest, version: DatasetVersion, form: EditsForm) -> HttpResponse:
    """Show the boxes with the names that were typed. Lists of files do not fit into an address: with some the answer is the page."""
    if any(request.POST.get(f"{split}_files") for split in ("train", "val", "test")):
        form.is_valid()
        return version_page(request, version, form)
    editing = {"edit": "1"} if version.frozen else {}
    return redirect(_version_address(version, editing | changed_fields(version, request.POST.dict())) + "#naming")


def _version_address(version: DatasetVersion, query: dict[str, str]) -> str:
    fields = urlencode({**query, "version": str(version.uuid)})
    return f"{reverse('dataset-detail', args=[version.dataset.uuid])}?{fields}"
