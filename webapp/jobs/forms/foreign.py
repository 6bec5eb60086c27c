"""Forms that bring in what was made elsewhere: a model file, a file of detections."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from detection_core.catalogue.layouts import LAYOUTS, Layout
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportModelSpec, ScoreSpec
from webapp.artifacts.models import Artifact
from webapp.datasets.models import DatasetVersion
from webapp.jobs.foreign import class_advice, import_plan, measure_plan
from webapp.jobs.forms.base import (
    SPLIT_HELP,
    SPLITS,
    QueueForm,
    duration_choices,
    set_choices,
    splits_required,
    stored_versions,
    version_label,
)
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob

MODEL_ENDINGS = (".onnx", ".pth")
RESULT_ENDINGS = (".json", ".json.gz")
MEASURED_SPLITS = (*SPLITS, ("train", "train"))
PREPROCESSING = ("input_height", "input_width", "resize", "channel_order", "mean", "std", "nms_thresh")
UPLOADED_TRUTH = "upload"


class UploadForm(QueueForm):
    """A form around an uploaded file. `planned` names it only by its name until `attach` is told which bytes it became.

    `advice` is what a person should know once it is queued.
    """

    advice = ""

    def __init__(self, *args: Any, refusal: str | None = None, **kwargs: Any) -> None:
        """Make the form; `refusal` says why the upload was not taken."""
        super().__init__(*args, **kwargs)
        self.refusal = refusal
        if refusal:  # nothing arrived, and that is not the person's fault
            for field in self.fields.values():
                field.required = field.required and not isinstance(field, forms.FileField)

    def attach(self, **stored: Artifact) -> None:
        """Put the stored files into the planned jobs, by the field of the first one's spec."""
        first, *rest = self.planned
        files = {name: InputFile(sha256=artifact.sha256, name=artifact.name) for name, artifact in stored.items()}
        self.planned = [replace(first, spec=first.spec.model_copy(update=files)), *rest]

    def uploaded(self, name: str, endings: tuple[str, ...], what: str) -> UploadedFile | None:
        """Return an upload, refused with a sentence where it is of another kind or was not taken."""
        if self.refusal:
            raise forms.ValidationError(self.refusal)
        upload: UploadedFile | None = self.cleaned_data[name]
        if upload is not None and not (upload.name or "").lower().endswith(endings):
            raise forms.ValidationError(f"'{upload.name}' is no {what}; choose a file that ends in {' or '.join(endings)}")
        return upload


class ImportModelForm(UploadForm):
    """A detector that was trained elsewhere becomes a model like any other."""

    missing = "Choose a file and its layout."
    file = forms.FileField(
        label="Model file",
        widget=forms.FileInput(attrs={"accept": ",".join(MODEL_ENDINGS)}),
        help_text="An ONNX graph (.onnx), or FastestDet's weights (.pth).",
    )
    layout = forms.ChoiceField(
        label="Layout of its outputs", choices=[(name, layout.title) for name, layout in LAYOUTS.items()], widget=forms.RadioSelect
    )
    name = forms.CharField(
        label="Name",
        required=False,
        max_length=80,
        help_text="Small letters, digits and . _ -, such as yolox-nano. Empty: the name of the file.",
    )
    classes = forms.CharField(
        label="Class names",
        required=False,
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="One a line, or separated by commas, in the order of the outputs.",
    )
    classes_from = forms.ChoiceField(
        label="Or the classes of a data set",
        required=False,
        help_text="Where the model was trained on a data set of this site, in its order.",
    )
    class_map = forms.CharField(
        label="Class mapping",
        required=False,
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "aeroplane = airplane"}),
        help_text="One a line, “theirs = ours”, for classes that your data sets call otherwise. Classes are compared by name.",
    )
    input_height = forms.IntegerField(
        label="Input height", required=False, min_value=32, max_value=2048, help_text="Pixels. Empty: as the graph says."
    )
    input_width = forms.IntegerField(
        label="Input width", required=False, min_value=32, max_value=2048, help_text="Pixels. Empty: as the graph says."
    )
    resize = forms.ChoiceField(
        label="Fitting images",
        required=False,
        choices=[("", "as the layout has it"), ("letterbox", "letterbox: keep the shape, fill up"), ("stretch", "stretch to the input")],
    )
    channel_order = forms.ChoiceField(
        label="Order of colours", required=False, choices=[("", "as the layout has it"), ("rgb", "RGB"), ("bgr", "BGR")]
    )
    mean = forms.CharField(label="Mean", required=False, max_length=100)
    std = forms.CharField(label="Standard deviation", required=False, max_length=100)
    nms_thresh = forms.FloatField(
        label="NMS threshold", required=False, min_value=0, max_value=1, widget=forms.NumberInput(attrs={"step": "any"})
    )
    licence = forms.CharField(
        label="Licence", required=False, max_length=50, help_text="Of the weights; it stands on every board beside the model."
    )
    measure = forms.BooleanField(label="Evaluate and time it as well", required=False)
    dataset = forms.ChoiceField(label="Data set", required=False)
    split = forms.ChoiceField(label="Measure on", required=False, choices=MEASURED_SPLITS, initial="test", help_text=SPLIT_HELP)
    duration = forms.ChoiceField(label="Latency protocol", required=False, choices=duration_choices, initial="quick")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.versions = stored_versions()
        choices = [(key, version_label(version)) for key, version in self.versions.items()]
        set_choices(self, "dataset", choices)
        set_choices(
            self, "classes_from", [("", "–"), *((key, f"{version}: {len(version.classes)}") for key, version in self.versions.items())]
        )
        for name, unit in (
            ("resize", ""),
            ("channel_order", ""),
            ("mean", "Three numbers, for values 0 to 1. "),
            ("std", ""),
            ("nms_thresh", ""),
        ):
            self.fields[name].help_text = f"{unit}Empty: {_defaults(name)}."

    @property
    def preprocessing(self) -> list[forms.BoundField]:
        """Return the fields in which a file may differ from its layout."""
        return [self[name] for name in PREPROCESSING]

    @property
    def preprocessing_changed(self) -> bool:
        """Say whether any of them holds something, or something wrong."""
        return any(self[name].value() or self[name].errors for name in PREPROCESSING)

    def clean_file(self) -> UploadedFile | None:
        """Refuse a file of another kind."""
        return self.uploaded("file", MODEL_ENDINGS, "model file")

    def clean_classes(self) -> tuple[str, ...]:
        """Split the names at line ends and commas."""
        return tuple(part.strip() for part in re.split(r"[\n,]", self.cleaned_data["classes"]) if part.strip())

    def clean_class_map(self) -> dict[str, str]:
        """Read the lines “theirs = ours”."""
        found: dict[str, str] = {}
        for line in filter(None, map(str.strip, self.cleaned_data["class_map"].splitlines())):
            theirs, equals, ours = (part.strip() for part in line.partition("="))
            if not (theirs and equals and ours):
                raise forms.ValidationError(f"the line '{line}' is no mapping; write it as “theirs = ours”")
            if theirs in found:
                raise forms.ValidationError(f"'{theirs}' stands there twice; map it once")
            found[theirs] = ours
        return found

    def clean_mean(self) -> tuple[float, ...] | None:
        """Read three numbers."""
        return self._three("mean")

    def clean_std(self) -> tuple[float, ...] | None:
        """Read three numbers."""
        return self._three("std")

    def _three(self, name: str) -> tuple[float, ...] | None:
        parts = self.cleaned_data[name].replace(",", " ").split()
        try:
            values = tuple(float(part) for part in parts)
        except ValueError:
            raise forms.ValidationError("write three numbers, such as 0.485, 0.456, 0.406") from None
        if values and (len(values) != 3 or (name == "std" and min(values) <= 0)):
            raise forms.ValidationError(f"write three numbers{' above 0' if name == 'std' else ''}, such as 0.229, 0.224, 0.225")
        return values or None

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the import, and the two measurements where they are asked for."""
        upload, lane = cleaned["file"], cleaned["lane"]
        name = cleaned["name"].strip() or _name_of(upload.name or "")
        chosen = {field: cleaned[field] for field in ("input_height", "input_width", "mean", "std", "nms_thresh")}
        chosen |= {field: cleaned[field] or None for field in ("resize", "channel_order")}
        chosen |= {"classes": self._class_names(cleaned), "class_map": cleaned["class_map"], "layout": cleaned["layout"], "name": name}
        told = {"licence": cleaned["licence"].strip() or "not told", "threads": lane_threads(lane)}
        spec = ImportModelSpec.parse({"file": {"name": upload.name}, **chosen, **told})
        first = import_plan(spec, lane=lane)
        if not cleaned["measure"]:
            return [first]
        version, split, duration = self._version(cleaned), cleaned["split"] or "test", cleaned["duration"] or "quick"
        self.advice = class_advice(spec, version)
        return [first, *measure_plan(spec, version, split=split, duration=duration, lane=lane)]

    def _class_names(self, cleaned: dict[str, Any]) -> list[str]:
        typed, version = cleaned["classes"], self.versions.get(cleaned["classes_from"])
        if bool(typed) == (version is not None):
            raise InvalidInput("give the class names, or choose the data set whose classes they are (one of the two)")
        return list(typed) if version is None else version.classes

    def _version(self, cleaned: dict[str, Any]) -> DatasetVersion:
        if cleaned["dataset"] not in self.versions:
            raise InvalidInput("choose the data set to evaluate and time it on, or take the tick out")
        return self.versions[cleaned["dataset"]]


class ScoreForm(UploadForm):
    """The COCO numbers of a file of detections; no model is run."""

    missing = "Choose a file and the ground truth."
    predictions = forms.FileField(
        label="Results file",
        widget=forms.FileInput(attrs={"accept": ".json,.gz"}),
        help_text="COCO results: a list of {image_id or file_name, category_id, bbox [x, y, width, height], score}; .json or .json.gz.",
    )
    truth = forms.ChoiceField(label="Ground truth", help_text="A data set of the site, or a COCO file of your own.")
    ids = forms.ChoiceField(
        label="Ids in the file",
        required=False,
        choices=(
            ("", "as they tell themselves"),
            ("source", "of the COCO annotations that the data set was read from"),
            ("export", "of the COCO export of the data set"),
        ),
        help_text="Whose image and category ids the results use. Choose one where the job says that they could be both.",
    )
    split = forms.ChoiceField(label="Split", choices=MEASURED_SPLITS, initial="test")
    ground_truth = forms.FileField(
        label="Ground-truth file",
        required=False,
        widget=forms.FileInput(attrs={"accept": ".json,.gz"}),
        help_text="COCO annotations with images, categories and boxes; only where no data set of the site is chosen above.",
    )
    name = forms.CharField(label="Name", required=False, max_length=100, help_text="What made the detections. Empty: the name of the file.")
    field_order = ("predictions", "truth", "split", "ids", "ground_truth", "name", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.versions = stored_versions()
        known = [(key, version_label(version)) for key, version in self.versions.items()]
        set_choices(self, "truth", [*known, (UPLOADED_TRUTH, "a file that I upload")])

    def clean_predictions(self) -> UploadedFile | None:
        """Refuse a file of another kind."""
        return self.uploaded("predictions", RESULT_ENDINGS, "results file")

    def clean_ground_truth(self) -> UploadedFile | None:
        """Refuse a file of another kind."""
        return self.uploaded("ground_truth", RESULT_ENDINGS, "ground truth")

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one scoring."""
        upload, lane, version = cleaned["predictions"], cleaned["lane"], self.versions.get(cleaned["truth"])
        truth: dict[str, Any]
        if version is not None:
            splits_required(version, cleaned["split"])
            truth, of = {"dataset": {"sha256": version.artifact_id, "name": f"{version}.tar"}}, str(version)
        elif cleaned["ground_truth"] is None:
            raise InvalidInput("choose a data set, or upload the ground truth")
        else:
            truth, of = {"ground_truth": {"name": cleaned["ground_truth"].name}}, cleaned["ground_truth"].name
        name = cleaned["name"].strip() or _without_ending(upload.name or "")
        told = {
            "predictions": {"name": upload.name},
            "split": cleaned["split"],
            "ids": cleaned["ids"] or None,
            "name": name,
            "threads": lane_threads(lane),
        }
        return [PlannedJob(alias="score", spec=ScoreSpec.parse({**truth, **told}), title=f"{name} · {of}"[:200], lane=lane)]


def _without_ending(file: str) -> str:
    return re.sub(r"(\.json|\.json\.gz)$", "", file)[:100]


def _name_of(file: str) -> str:
    """Make a model's name out of a file's."""
    stem = file.rsplit(".", 1)[0].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._")[:80]


def _defaults(name: str) -> str:
    """Say what a field left empty means under each layout: `RGB with YOLOX, BGR with NanoDet`."""
    by_words: dict[str, list[str]] = {}
    for layout in LAYOUTS.values():
        by_words.setdefault(_words(layout, name), []).append(layout.title)
    ordered = sorted(by_words.items(), key=lambda entry: len(entry[1]))
    parts = [f"{words} with {', '.join(titles)}" for words, titles in ordered]
    return "; ".join([*parts[:-1], f"{ordered[-1][0]} with the others"]) if len(parts) > 1 else ordered[0][0]


def _words(layout: Layout, name: str) -> str:
    value = getattr(layout, name)
    if value is None:
        return "none"
    if isinstance(value, tuple):
        shown = tuple(f"{part:.3g}" for part in value)
        return shown[0] if len(set(shown)) == 1 else ", ".join(shown)
    return value.upper() if name == "channel_order" else str(value)
