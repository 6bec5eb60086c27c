"""The form that brings a data set in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from detection_core.catalogue.datasets import DATASETS
from webapp.templatetags.show import bytesize

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


class ImportForm(forms.Form):
    """An upload or a built-in data set, with what a person knows better than the files."""

    origin = forms.ChoiceField(
        choices=[("upload", "upload"), *((name, name) for name in DATASETS)], initial="upload", widget=forms.RadioSelect
    )
    file = forms.FileField(label="Archive", required=False, widget=forms.FileInput(attrs={"accept": ",".join(ENDINGS)}))
    name = forms.CharField(
        label="Name",
        required=False,
        max_length=100,
        help_text="A name that exists gets a further version. Empty: the name of the file, or of the built-in.",
    )
    class_names = forms.CharField(
        label="Class names",
        required=False,
        max_length=4000,
        help_text="Separated by commas, in label order, where the names in the archive are wrong.",
    )
    licence = forms.CharField(label="Licence", required=False, max_length=100)
    source = forms.CharField(label="Source", required=False, max_length=300, help_text="Who made the data, and where it is.")

    def __init__(self, *args: Any, refusal: str | None = None, **kwargs: Any) -> None:
        """Make the form; `refusal` says why the upload was not taken."""
        super().__init__(*args, **kwargs)
        self.refusal = refusal
        self.fields[
            "file"
        ].help_text = (
            f".zip or .tar with COCO, YOLO or Pascal VOC annotations beside the images, at most {bytesize(settings.UPLOAD_MAX_BYTES)}."
        )

    def clean_file(self) -> Any:
        """Refuse a file that was not taken."""
        if self.refusal:
            raise forms.ValidationError(self.refusal)
        return self.cleaned_data["file"]

    def clean_class_names(self) -> tuple[str, ...] | None:
        """Split the names; None where none is given."""
        text = self.cleaned_data["class_names"].strip()
        if not text:
            return None
        names = tuple(part.strip() for part in text.split(","))
        if not all(names):
            raise forms.ValidationError("one of the names is empty; take out the comma that is too many")
        if len(set(names)) != len(names):
            raise forms.ValidationError("two names are the same; give each class its own")
        return names

    def clean(self) -> dict[str, Any]:
        """Check that there is something to import and settle its name."""
        cleaned = super().clean() or {}
        upload = cleaned.get("file")
        if cleaned.get("origin") == "upload":
            if upload is None and "file" not in self.errors:
                self.add_error("file", "choose a .zip or .tar file")
            elif upload is not None and not upload.name.lower().endswith(ENDINGS):
                self.add_error("file", f"'{upload.name}' is no .zip or .tar; pack the folder with the images and annotations into one")
        cleaned["name"] = (cleaned.get("name") or "").strip() or _default_name(cleaned.get("origin", ""), upload)
        return cleaned


def _default_name(origin: str, upload: Any) -> str:
    if origin != "upload":
        return origin
    name = upload.name if upload else ""
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return name[:100]
