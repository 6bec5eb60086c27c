"""The form that brings a data set in, and the one that corrects it before it is frozen."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.forms.boundfield import BoundField

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.edits import names_of_no_image, pattern_lack
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.specs import DatasetEdits
from webapp.accounts.models import User
from webapp.datasets.archive import ArchiveIndex
from webapp.datasets.edits import edit_words
from webapp.datasets.folders import folder_for, folders_offered
from webapp.datasets.models import DatasetVersion
from webapp.datasets.selectors import ClassCount, class_counts, stored_index
from webapp.templatetags.show import bytesize

ENDINGS = (".zip", ".tar")
EDITS_FORM = "edits"


class ImportForm(forms.Form):
    """An upload, a data set of the catalogue or a folder on the server, with what a person knows better than the files."""

    origin = forms.ChoiceField(
        choices=[("upload", "upload"), ("folder", "folder"), *((name, name) for name in DATASETS)],
        initial="upload",
        widget=forms.RadioSelect,
    )
    folder = forms.CharField(
        label="Folder",
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={"list": "folders-offered", "spellcheck": "false"}),
        help_text="An absolute path on the server, below a folder that is open for import; the workers must see it too.",
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
    annotations = forms.ChoiceField(
        label="Annotations",
        required=False,
        choices=[("", "in whichever form they are"), ("coco", "COCO"), ("yolo", "YOLO"), ("voc", "Pascal VOC")],
        help_text="Choose one where the files hold the boxes in two forms.",
    )
    licence = forms.CharField(label="Licence", required=False, max_length=100)
    source = forms.CharField(label="Source", required=False, max_length=300, help_text="Who made the data, and where it is.")

    def __init__(self, *args: Any, user: User | None = None, refusal: str | None = None, **kwargs: Any) -> None:
        """Make the form; `user` says whether folders may be chosen, `refusal` why the upload was not taken."""
        super().__init__(*args, **kwargs)
        self.user, self.refusal = user, refusal
        self.folders = folders_offered() if user is not None and user.is_staff else []
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
        if cleaned.get("origin") == "folder":
            self._check_folder(cleaned)
        if cleaned.get("origin") == "upload":
            if upload is None and "file" not in self.errors:
                self.add_error("file", "choose a .zip or .tar file")
            elif upload is not None and not upload.name.lower().endswith(ENDINGS):
                remedy = "pack the folder with the images and annotations as a .zip or an uncompressed .tar"
                self.add_error("file", f"'{upload.name}' is no .zip or .tar; {remedy}")
        cleaned["name"] = (cleaned.get("name") or "").strip() or _default_name(cleaned, upload)
        return cleaned

    def _check_folder(self, cleaned: dict[str, Any]) -> None:
        try:
            cleaned["folder"] = str(folder_for(cleaned.get("folder", "").strip(), self.user))
        except InvalidInput as error:
            self.add_error("folder", str(error))


def _default_name(cleaned: Mapping[str, Any], upload: Any) -> str:
    origin = cleaned.get("origin", "")
    if origin == "folder":
        return str(cleaned.get("folder", "")).rstrip("/").rpartition("/")[2][:100]
    if origin != "upload":
        return origin
    name = upload.name if upload else ""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name.removesuffix(name[len(name) - len(ending) :])[:100]


class EditsForm(forms.Form):
    """What is to be changed in a version: names of classes, splits, licence and source. `edits` holds it once the form is valid.

    Its controls stand in several places of the page and name the form by its id.
    """

    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4, required=False)
    deal = forms.ChoiceField(
        label="Splits",
        choices=[
            ("keep", "Keep them as they are"),
            ("seed", "Deal the images anew, by a seed"),
            ("group", "Deal whole groups of images anew (a place, a flight, a clip)"),
            ("list", "Take them from lists of file names"),
        ],
        initial="keep",
        widget=forms.RadioSelect,
    )
    val = forms.FloatField(label="Val, %", initial=15, min_value=0, max_value=90, required=False)
    test = forms.FloatField(label="Test, %", initial=15, min_value=0, max_value=90, required=False)
    seed = forms.IntegerField(label="Seed", initial=0, min_value=0, max_value=2**31 - 1, required=False)
    group_pattern = forms.CharField(
        label="Group pattern",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"placeholder": r"^(\w+)_\d+", "spellcheck": "false"}),
        help_text="A regular expression over the file name; what stands in its first brackets, or all of it, names the group. "
        "Empty: the groups that the images carry.",
    )
    train_files = forms.CharField(label="Train files", required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}))
    val_files = forms.CharField(label="Val files", required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}))
    test_files = forms.CharField(label="Test files", required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}))
    licence = forms.CharField(label="Licence", required=False, max_length=100)
    source = forms.CharField(label="Source", required=False, max_length=300, help_text="Who made the data, and where it is.")

    def __init__(self, version: DatasetVersion, *args: Any, **kwargs: Any) -> None:
        """Make the form of a version, with a name and a check box for each of its classes."""
        super().__init__(*args, **kwargs)
        self.version = version
        for label, name in enumerate(version.classes):
            shown = {"aria-label": f"Name of {name}", "autocomplete": "off", "spellcheck": "false"}
            widget = forms.TextInput(attrs=shown)
            self.fields[f"name-{label}"] = forms.CharField(
                label=f"Name of {name}", max_length=100, initial=name, required=False, widget=widget
            )
            box = forms.CheckboxInput(attrs={"aria-label": f"Drop the boxes of {name}"})
            self.fields[f"drop-{label}"] = forms.BooleanField(label=f"Drop {name}", required=False, widget=box)
        self.fields["licence"].initial = version.dataset.licence
        self.fields["source"].initial = version.dataset.source
        for field in self.fields.values():
            field.widget.attrs["form"] = EDITS_FORM
        self.edits = DatasetEdits()

    @property
    def class_rows(self) -> list[tuple[ClassCount, BoundField, BoundField]]:
        """Return for each class its counts, the field of its name and the box that drops it."""
        return [(row, self[f"name-{row.number}"], self[f"drop-{row.number}"]) for row in class_counts(self.version)]

    @property
    def shown_names(self) -> list[str | None]:
        """Return what each label is called as the form stands: None where its boxes are to be dropped."""
        names: list[str | None] = []
        for label, name in enumerate(self.version.classes):
            wanted = str(self[f"name-{label}"].value() or "").strip()
            names.append(None if self[f"drop-{label}"].value() else wanted or name)
        return names

    @property
    def changes_in_words(self) -> list[str]:
        """Say what the form would change in the classes, as it stands."""
        pairs = list(zip(self.version.classes, self.shown_names, strict=True))
        shared = Counter(self.shown_names)
        rename = {old: new for old, new in pairs if new is not None and (new != old or shared[new] > 1)}
        drop = tuple(old for old, new in pairs if new is None)
        return edit_words(DatasetEdits.model_construct(rename=rename, drop=drop, split=None))  # as it stands, whether valid or not

    def clean(self) -> dict[str, Any]:
        """Make the changes out of the fields."""
        cleaned = super().clean() or {}
        rename, drop = self._names(cleaned)
        split = self._split(cleaned)
        if not self.errors:
            try:
                self.edits = DatasetEdits.parse({"rename": rename, "drop": drop, "split": split})
            except InvalidInput as error:
                raise forms.ValidationError(str(error)) from None
        return cleaned

    def _names(self, cleaned: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        rename, drop = {}, []
        for label, name in enumerate(self.version.classes):
            wanted = (cleaned.get(f"name-{label}") or "").strip()
            if cleaned.get(f"drop-{label}"):
                drop.append(name)
            elif not wanted and f"name-{label}" not in self.errors:
                self.add_error(f"name-{label}", f"give '{name}' a name, or drop it")
            elif wanted != name:
                rename[name] = wanted
        if len(drop) == len(self.version.classes):
            self.add_error(None, "every class is to be dropped; keep at least one")
        return rename, drop

    def _split(self, cleaned: Mapping[str, Any]) -> dict[str, Any] | None:
        by = cleaned.get("deal")
        if by == "list":
            return self._lists(cleaned)
        if by not in ("seed", "group"):
            return None
        rule: dict[str, Any] = {"by": by, "seed": cleaned.get("seed") or 0}
        rule |= {name: round((cleaned.get(name) or 0) / 100, 6) for name in ("val", "test")}
        if rule["val"] + rule["test"] >= 1:
            self.add_error("val", "val and test together leave nothing to train on; make them smaller")
        if by == "group":
            rule["group_pattern"] = self._pattern(cleaned)
        return rule

    def _pattern(self, cleaned: Mapping[str, Any]) -> str:
        pattern = cleaned.get("group_pattern") or ""
        if lack := pattern_lack(pattern):
            self.add_error("group_pattern", lack)
        if not pattern and not any(self._index().groups):
            self.add_error("group_pattern", "the images carry no groups; give a pattern such as ^(flight\\d+)_ over the file names")
        return pattern

    def _lists(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        lists = {split: _lines(cleaned.get(f"{split}_files")) for split in ("train", "val", "test")}
        lists = {split: names for split, names in lists.items() if names}
        if not lists:
            self.add_error("val_files", "paste at least one file name into one of the lists")
        for split, strange in names_of_no_image(self._index().files, lists).items() if lists else ():
            more = f", nor {len(strange) - 1} others of the list" if len(strange) > 1 else ""
            self.add_error(f"{split}_files", f"no image is called '{strange[0]}'{more}; correct the name")
        return {"by": "list", "lists": lists}

    def _index(self) -> ArchiveIndex:
        try:
            return stored_index(self.version)
        except FileNotFoundError:
            raise forms.ValidationError("the stored file of this version is gone; import the data set again") from None


def asked_changes(version: DatasetVersion, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what an address asks the form to begin with; what it does not tell is as the version has it."""
    plain = ("deal", "val", "test", "seed", "group_pattern", "licence", "source")
    names = [field for label in range(len(version.classes)) for field in (f"name-{label}", f"drop-{label}")]
    return {field: query[field] for field in (*plain, *names) if query.get(field)}


def changed_fields(version: DatasetVersion, query: Mapping[str, str]) -> dict[str, str]:
    """Return the fields in which a sent form differs from the version, for an address that shows them."""
    unchanged = EditsForm(version)
    return {field: value for field, value in asked_changes(version, query).items() if str(unchanged[field].value() or "") != value}


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
