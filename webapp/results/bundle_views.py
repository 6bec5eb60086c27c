"""The page that takes over a job that was done with no server."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.datasets.uploads import too_large
from webapp.jobs.views.uploading import takes_upload, upload_done, upload_page
from webapp.results.bundles import bundle_take


class BundleForm(forms.Form):
    """One bundle."""

    file = forms.FileField(
        label="Bundle",
        widget=forms.FileInput(attrs={"accept": ".tar"}),
        help_text="The .tar that the library packed on the other machine.",
    )

    def __init__(self, *args: Any, refusal: str | None = None, **kwargs: Any) -> None:
        """Make the form; `refusal` says why the upload was not taken."""
        super().__init__(*args, **kwargs)
        self.refusal = refusal
        self.fields["file"].required = not refusal

    def clean_file(self) -> Any:
        """Refuse a file that was not taken."""
        if self.refusal:
            raise forms.ValidationError(self.refusal)
        return self.cleaned_data["file"]


@takes_upload
def bundle_new(request: HttpRequest) -> HttpResponse:
    """Show the form, or take the bundle over and open its job."""
    if request.method != "POST":
        return upload_page(request, "results/bundle.html", BundleForm(), {})
    posted = request.POST  # read first: that is when the upload is taken or refused
    refusal = too_large(request)
    form = BundleForm(posted, request.FILES, refusal=refusal)
    if not form.is_valid():
        return upload_page(request, "results/bundle.html", form, {}, status=413 if refusal else 400)
    try:
        return upload_done(request, _take(form.cleaned_data["file"], request.user))  # type: ignore[arg-type]
    except InvalidInput as error:
        form.add_error("file", str(error))
        return upload_page(request, "results/bundle.html", form, {}, status=400)


def _take(upload: UploadedFile, user: User) -> str:
    """Take a bundle over and return the address of its job. One that is refused is never stored, so nothing of it stays."""
    job = bundle_take(source=upload, name=upload.name or "bundle.tar", user=user)
    return reverse("job-detail", args=[job.uuid])
