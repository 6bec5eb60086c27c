"""Forms of one job each: train, export, evaluate, time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from detection_core.catalogue.detectors import DETECTORS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import PUBLISHED, InputFile
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ExportSpec, JobSpec, TrainSpec
from webapp.datasets.models import DatasetVersion
from webapp.jobs.forms.base import (
    SPLIT_HELP,
    SPLITS,
    QueueForm,
    RecipeField,
    duration_choices,
    set_choices,
    splits_required,
    stored_versions,
    version_label,
)
from webapp.jobs.forms.pipeline import PipelineForm
from webapp.jobs.model_files import CHECKPOINT_ROLES, EXPORT_ROLES, ModelFile, checkpoint_of_family, model_files, published_weights
from webapp.jobs.pipeline import PipelineRequest, device_of, recipe_of
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob

MEASURED_SPLITS = (*SPLITS, ("train", "train"))


def _single(spec: JobSpec, title: str, lane: str) -> list[PlannedJob]:
    return [PlannedJob(alias=spec.kind, spec=spec, title=title[:200], lane=lane)]


def _weights(chosen: str, model: str) -> InputFile | None:
    if chosen == PUBLISHED:
        return published_weights(model)
    return checkpoint_of_family(chosen, model=model) if chosen else None


class StoredDataForm(QueueForm):
    """A single job that reads a stored data set."""

    dataset = forms.ChoiceField(label="Data set")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.versions = stored_versions()
        set_choices(self, "dataset", [(key, version_label(version)) for key, version in self.versions.items()])

    def dataset_input(self, cleaned: dict[str, Any], *splits: str) -> tuple[InputFile, str]:
        """Return the chosen data set, which must have these splits, as a job's input, and its name."""
        version = self.versions[cleaned["dataset"]]
        splits_required(version, *splits)
        return InputFile(sha256=version.artifact_id, name=f"{version}.tar"), str(version)


class TrainForm(StoredDataForm):
    """One training."""

    model = forms.ChoiceField(label="Detector")
    minutes = forms.FloatField(
        label="Minutes at most",
        initial=4,
        min_value=0.1,
        max_value=24 * 60,
        required=False,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text="Empty means that the epochs alone end it.",
    )
    epochs = forms.IntegerField(
        label="Epochs at most", required=False, min_value=1, max_value=10_000, help_text="Empty means as many as the minutes allow."
    )
    batch_size = forms.IntegerField(label="Batch size", initial=8, min_value=1, max_value=1024)
    input_size = PipelineForm.base_fields["input_size"]
    seed = PipelineForm.base_fields["seed"]
    weights = forms.ChoiceField(
        label="Start from",
        required=False,
        help_text="A checkpoint of the same family, or what torchvision publishes, which the worker downloads: the detector from COCO, "
        "or its trunk from ImageNet. What does not fit, such as the last layer for other classes, starts at random.",
    )
    recipe = RecipeField()
    field_order = ("model", "weights", "dataset", "minutes", "epochs", "input_size", "batch_size", "seed", "lane", "recipe")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ordered = sorted(DETECTORS.values(), key=lambda entry: not entry.compact)
        set_choices(self, "model", [(entry.name, f"{entry.title} ({entry.params_m:.3g} M parameters)") for entry in ordered])
        known = {entry.family for entry in ordered}
        made = [file for file in model_files(roles=CHECKPOINT_ROLES) if file.family in known]
        fixed = [("", "random weights"), (PUBLISHED, "published weights")]
        set_choices(self, "weights", [*fixed, *((file.sha256, file.label) for file in made)])

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one training."""
        dataset, name = self.dataset_input(cleaned, "train", "val")
        model, lane = cleaned["model"], cleaned["lane"]
        chosen = {field: cleaned[field] for field in ("minutes", "epochs", "batch_size", "input_size", "seed", "recipe", "lane")}
        request = PipelineRequest.parse({**chosen, "models": [model], "dataset_sha256": dataset.sha256, "dataset_name": name})
        weights = _weights(cleaned["weights"], model)
        told: dict[str, Any] = {"recipe": recipe_of(request, model), "device": device_of(lane), "threads": lane_threads(lane)}
        spec = TrainSpec(model=model, dataset=dataset, weights=weights, **told)
        return _single(spec, f"{model} · {name}", lane)


class ExportForm(QueueForm):
    """One export of a checkpoint to ONNX."""

    checkpoint = forms.ChoiceField(label="Checkpoint", help_text="The exported file is compared with it on generated pictures.")
    field_order = ("checkpoint", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made = {file.sha256: file for file in model_files(roles=CHECKPOINT_ROLES)}
        set_choices(self, "checkpoint", [(file.sha256, file.label) for file in self.made.values()])

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one export."""
        file, lane = self.made[cleaned["checkpoint"]], cleaned["lane"]
        spec = ExportSpec(checkpoint=InputFile(sha256=file.sha256, name=file.name), threads=lane_threads(lane))
        return _single(spec, file.job_title, lane)


class MeasureForm(StoredDataForm):
    """A measurement of a model file on a split."""

    artifact = forms.ChoiceField(label="Model file", help_text="A checkpoint runs with PyTorch eager, an ONNX file with ONNX Runtime.")
    split = forms.ChoiceField(label="Measure on", choices=MEASURED_SPLITS, initial="test", help_text=SPLIT_HELP)
    field_order: tuple[str, ...] = ("artifact", "dataset", "split", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made = {file.sha256: file for file in model_files(roles=(*CHECKPOINT_ROLES, *EXPORT_ROLES))}
        set_choices(self, "artifact", [(file.sha256, file.label) for file in self.made.values()])
        first = self.made.get(self.initial.get("artifact", "")) or next(iter(self.made.values()), None)
        fitting = (key for key, version in self.versions.items() if first and list(first.classes) == version.classes)
        self.initial.setdefault("dataset", next(fitting, None))

    def conditions(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that the specs of both kinds of measurement share."""
        dataset, _ = self.dataset_input(cleaned, cleaned["split"])
        file = self.made[cleaned["artifact"]]
        _classes_match(file, self.versions[cleaned["dataset"]])
        return {
            "artifact": InputFile(sha256=file.sha256, name=file.name),
            "backend": file.backend,
            "dataset": dataset,
            "split": cleaned["split"],
            "device": device_of(cleaned["lane"]),
        }

    def title(self, cleaned: dict[str, Any]) -> str:
        """Name the job after model, data set and backend."""
        _, name = self.dataset_input(cleaned)
        file = self.made[cleaned["artifact"]]
        return f"{file.model} · {name} · {file.backend}"


def _classes_match(file: ModelFile, version: DatasetVersion) -> None:
    # A model from elsewhere may know more classes, or fewer: they are compared by name.
    same = bool(set(file.classes) & set(version.classes)) if file.imported else list(file.classes) == version.classes
    if file.classes and not same:
        known, there = _some(file.classes), _some(version.classes)
        raise InvalidInput(f"the model file knows the classes {known}, and {version} has {there}; choose a data set with the same classes")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class EvaluateForm(MeasureForm):
    """One evaluation."""

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one evaluation."""
        lane = cleaned["lane"]
        return _single(EvaluateSpec(**self.conditions(cleaned), threads=lane_threads(lane)), self.title(cleaned), lane)


class BenchmarkForm(MeasureForm):
    """One latency measurement."""

    duration = forms.ChoiceField(label="Latency protocol", choices=duration_choices, initial="quick")
    threads = forms.IntegerField(
        label="Threads",
        required=False,
        min_value=1,
        max_value=256,
        help_text="Part of the result's conditions. Empty means half of what the worker has.",
    )
    field_order = ("artifact", "dataset", "split", "duration", "threads", "lane")

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one latency measurement."""
        lane = cleaned["lane"]
        threads = cleaned.get("threads") or max(1, lane_threads(lane) // 2)
        spec = BenchmarkSpec(**self.conditions(cleaned), duration=cleaned["duration"], threads=threads)
        return _single(spec, self.title(cleaned), lane)
