"""What pages with an upload share: the file goes to disk as it arrives, the answer suits a browser with and without our script."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_put_stream
from webapp.datasets.uploads import limit_upload

View = Callable[[HttpRequest], HttpResponse]


def takes_upload(inner: View) -> View:
    """Make a page that people who are logged in may post a file to, no larger than the site takes."""
    guarded = csrf_protect(login_required(require_http_methods(["GET", "POST"])(inner)))

    # The handler that limits an upload has to be in place before the CSRF check reads the form.
    @csrf_exempt
    @wraps(inner)
    def view(request: HttpRequest) -> HttpResponse:
        limit_upload(request)
        return guarded(request)  # type: ignore[return-value]

    return view


def upload_store(upload: UploadedFile, *, user: User) -> Artifact:
    """Store an uploaded file. Raises InvalidInput where it is empty or too large."""
    chunks = upload.chunks(1 << 20)
    name = (upload.name or "file")[:200]
    return artifact_put_stream(chunks=chunks, kind="upload", name=name, user=user, max_bytes=settings.UPLOAD_MAX_BYTES)


def upload_done(request: HttpRequest, url: str) -> HttpResponse:
    """Lead on to what the upload became."""
    if _asks_for_json(request):
        return JsonResponse({"url": url})
    return redirect(url)


def upload_page(request: HttpRequest, template: str, form: forms.Form, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Show the form, or tell our script what is wrong."""
    if _asks_for_json(request):
        problems = [f"{_label(form, name)}{error}" for name, errors in form.errors.items() for error in errors]
        return JsonResponse({"problems": problems}, status=status)
    return render(request, template, {**context, "form": form, "max_bytes": settings.UPLOAD_MAX_BYTES}, status=status)


def _label(form: forms.Form, name: str) -> str:
    return f"{form.fields[name].label}: " if name in form.fields and form.fields[name].label else ""


def _asks_for_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json"
