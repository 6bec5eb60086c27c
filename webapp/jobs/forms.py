"""Forms that queue jobs. Each one turns what a person chose into planned jobs; nothing is written here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.scenarios import DURATIONS
from detection_core.catalogue.specs import Detector, Family
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ExportSpec, JobSpec, TrainSpec
from webapp.datasets.selectors import version_choices
from webapp.hardware.selectors import lanes_served
from webapp.jobs.model_files import CHECKPOINT_ROLES, EXPORT_ROLES, ModelFile, model_files
from webapp.jobs.pipeline import PipelineRequest, pipeline_plan, recipe_of
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob

BACKENDS = (("eager", "PyTorch eager, the checkpoint itself"), ("onnxruntime", "ONNX Runtime, the exported file"))
SPLITS = (("test", "test"), ("val", "val, the split that chose the checkpoint"))


def _duration_choices() -> list[tuple[str, str]]:
    return [
        (rule.name, f"{rule.name}: {rule.runs} run{'s' if rule.runs > 1 else ''} of at least {rule.min_samples} images, at most {rule.max_seconds:g} s each")
        for rule in DURATIONS.values()
    ]


def _lane_choices() -> list[tuple[str, str]]:
    served = set(lanes_served())
    return [(lane, lane if lane in served else f"{lane} (no worker serves it now)") for lane in sorted(served | {"cpu"})]


def _device(lane: str) -> str:
    return "cuda" if lane.startswith("cuda") else "cpu"


class QueueForm(forms.Form):
    """What every form that queues has: a token that makes a second click harmless, the lane, and the sentence while it is incomplete."""

    missing = "Fill in the fields above to see what will be queued."
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4, required=False)
    lane = forms.ChoiceField(label="Lane", help_text="Workers serve lanes; a lane is named for what it runs on.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["lane"].choices = _lane_choices()  # type: ignore[attr-defined]

    @property
    def initial_values(self) -> dict[str, Any]:
        """Return what a browser would send if nothing were changed."""
        values = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        for name, field in self.fields.items():
            if values[name] is None and isinstance(field, forms.ChoiceField) and not isinstance(field, forms.MultipleChoiceField):
                values[name] = _first_choice(field)
        return values

    @property
    def first_problem(self) -> str:
        """Return the first thing that is wrong; what is merely not filled in yet is not."""
        for name, errors in self.errors.as_data().items():
            for error in errors:
                if error.code != "required":
                    label = f"{self.fields[name].label}: " if name in self.fields else ""
                    return label + " ".join(error.messages)
        return ""

    @property
    def idempotency_key(self) -> str | None:
        """Return the key under which a second submission of this very form is the first one again."""
        token = self.cleaned_data.get("token")
        return f"form:{token}" if token else None

    def clean(self) -> dict[str, Any]:
        """Plan the jobs, so that what the schemas refuse is shown as an error of the form."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.planned = self.plan(cleaned)
            except InvalidInput as error:
                raise forms.ValidationError(str(error)) from None
        return cleaned

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the jobs that these choices mean."""
        raise NotImplementedError


def _first_choice(field: forms.ChoiceField) -> Any:
    for value, label in field.choices:
        if isinstance(label, list | tuple):
            return label[0][0]
        return value
    return None


@dataclass(frozen=True)
class DetectorChoice:
    """One check box."""

    detector: Detector
    checked: bool

    @property
    def id(self) -> str:
        """Return the id of the check box."""
        return f"id_models_{self.detector.name}"

    @property
    def facts(self) -> str:
        """Say how large it is and how it works."""
        stages = {"one": "one stage", "two": "two stages", "set": "set prediction"}[self.detector.stages]
        return f"{self.detector.params_m:.3g} M parameters · {stages} · {self.detector.input_size} px"


@dataclass(frozen=True)
class DetectorGroup:
    """The check boxes of one family."""

    family: Family
    choices: tuple[DetectorChoice, ...]


class PipelineForm(QueueForm):
    """Several models on one data set: train, export, evaluate and time each of them."""

    missing = "Choose a data set and at least one detector to see what will be queued."
    data = forms.ChoiceField(label="Data set", help_text="A stored version, or one that this project brings along.")
    models = forms.MultipleChoiceField(
        label="Detectors",
        choices=[(name, entry.title) for name, entry in DETECTORS.items()],
        help_text="The small ones learn from scratch on a CPU within minutes.",
        error_messages={"required": "choose at least one detector"},
    )
    backends = forms.MultipleChoiceField(
        label="Backends",
        choices=BACKENDS,
        initial=[name for name, _ in BACKENDS],
        widget=forms.CheckboxSelectMultiple,
        help_text="Each backend is evaluated and timed by itself, on the same weights.",
        error_messages={"required": "choose at least one backend"},
    )
    minutes = forms.FloatField(
        label="Minutes of training, each model",
        initial=4,
        min_value=0.1,
        max_value=24 * 60,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text="The learning rate follows the time, so a short training still ends well.",
    )
    duration = forms.ChoiceField(label="Latency protocol", choices=_duration_choices, initial="quick", widget=forms.RadioSelect)
    split = forms.ChoiceField(label="Measure on", choices=SPLITS, initial="test", help_text="Numbers on val are marked and stay off the board.")
    input_size = forms.IntegerField(
        label="Input size, px",
        required=False,
        min_value=64,
        max_value=2048,
        help_text="A multiple of 32. Empty means each detector's own size.",
        widget=forms.NumberInput(attrs={"step": 32, "placeholder": "each model's own"}),
    )
    seed = forms.IntegerField(label="Seed", initial=0, min_value=0, max_value=2**31 - 1, help_text="The same seed on the same machine gives the same weights.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = [(f"version:{version.uuid}", f"{version} ({_split_words(version.splits)})") for version in version_choices()[:200]]
        builtin = [(f"builtin:{name}", f"{entry.title}: {entry.about}") for name, entry in DATASETS.items()]
        groups = [("Stored", stored)] if stored else []
        self.fields["data"].choices = [*groups, ("Built in, imported first", builtin)]  # type: ignore[attr-defined]

    @property
    def compact_groups(self) -> list[DetectorGroup]:
        """Return the small detectors by family."""
        return self._groups(compact=True)

    @property
    def published_groups(self) -> list[DetectorGroup]:
        """Return the detectors in their published sizes by family."""
        return self._groups(compact=False)

    @property
    def published_chosen(self) -> bool:
        """Say whether a published size is chosen, so that the page shows it."""
        return any(choice.checked for group in self.published_groups for choice in group.choices)

    def _groups(self, *, compact: bool) -> list[DetectorGroup]:
        chosen = set(self["models"].value() or ())
        groups = []
        for family in FAMILIES.values():
            entries = [entry for entry in DETECTORS.values() if entry.family == family.name and entry.compact is compact]
            if entries:
                groups.append(DetectorGroup(family, tuple(DetectorChoice(entry, entry.name in chosen) for entry in entries)))
        return groups

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the pipeline's jobs."""
        self.request = PipelineRequest.parse(
            {
                **_data_fields(cleaned["data"]),
                **{name: cleaned[name] for name in ("models", "backends", "minutes", "duration", "split", "input_size", "seed", "lane")},
            }
        )
        return pipeline_plan(self.request, threads=lane_threads(cleaned["lane"]))


def _data_fields(choice: str) -> dict[str, Any]:
    kind, _, value = choice.partition(":")
    if kind == "builtin":
        return {"import_ref": value, "dataset_name": value}
    version = version_choices().get(uuid=value)
    return {"dataset_sha256": version.artifact_id, "dataset_name": str(version)}


def _split_words(splits: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{splits[name]['images']} {name}" for name in ("train", "val", "test") if splits.get(name, {}).get("images"))


class StoredDataForm(QueueForm):
    """A single job that reads a stored data set."""

    data = forms.ChoiceField(label="Data set")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.versions = {str(version.uuid): version for version in version_choices()[:200]}
        self.fields["data"].choices = [(key, f"{version} ({_split_words(version.splits)})") for key, version in self.versions.items()]  # type: ignore[attr-defined]

    def dataset(self, cleaned: dict[str, Any]) -> tuple[InputFile, str]:
        """Return the chosen data set as a job's input, and its name."""
        version = self.versions[cleaned["data"]]
        return InputFile(sha256=version.artifact_id, name=f"{version}.tar"), str(version)


def _model_choices(files: Iterable[ModelFile]) -> list[tuple[str, str]]:
    return [(file.sha256, file.label) for file in files]


class TrainForm(StoredDataForm):
    """One training."""

    model = forms.ChoiceField(label="Detector")
    minutes = forms.FloatField(label="Minutes at most", initial=4, min_value=0.1, max_value=14 * 24 * 60, required=False, help_text="Empty means no limit of time.")
    epochs = forms.IntegerField(label="Epochs at most", required=False, min_value=1, max_value=10_000, help_text="Empty means as many as the minutes allow.")
    batch_size = forms.IntegerField(label="Batch size", initial=8, min_value=1, max_value=1024)
    input_size = PipelineForm.base_fields["input_size"]
    seed = PipelineForm.base_fields["seed"]
    field_order = ("model", "data", "minutes", "epochs", "input_size", "batch_size", "seed", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ordered = sorted(DETECTORS.values(), key=lambda entry: not entry.compact)
        self.fields["model"].choices = [(entry.name, f"{entry.title} ({entry.params_m:.3g} M)") for entry in ordered]  # type: ignore[attr-defined]

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one training."""
        dataset, name = self.dataset(cleaned)
        chosen = {field: cleaned[field] for field in ("minutes", "epochs", "batch_size", "input_size", "seed", "lane")}
        request = PipelineRequest.parse({**chosen, "models": [cleaned["model"]], "dataset_sha256": dataset.sha256, "dataset_name": name})
        lane = cleaned["lane"]
        recipe = recipe_of(request, cleaned["model"])
        spec = TrainSpec(model=cleaned["model"], dataset=dataset, recipe=recipe, device=_device(lane), threads=lane_threads(lane))
        return _single(spec, f"{cleaned['model']} · {name}", lane)


class ExportForm(QueueForm):
    """One export of a checkpoint to ONNX."""

    checkpoint = forms.ChoiceField(label="Checkpoint", help_text="The export is compared with it on real input.")
    field_order = ("checkpoint", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.files = {file.sha256: file for file in model_files(roles=CHECKPOINT_ROLES)}
        self.fields["checkpoint"].choices = _model_choices(self.files.values())  # type: ignore[attr-defined]

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one export."""
        file = self.files[cleaned["checkpoint"]]
        spec = ExportSpec(checkpoint=InputFile(sha256=file.sha256, name=file.name), threads=lane_threads(cleaned["lane"]))
        return _single(spec, file.job_title, cleaned["lane"])


class MeasureForm(StoredDataForm):
    """A measurement of a model file on a split."""

    artifact = forms.ChoiceField(label="Model file", help_text="A checkpoint runs with PyTorch eager, an ONNX file with ONNX Runtime.")
    split = forms.ChoiceField(label="Measure on", choices=(*SPLITS, ("train", "train")), initial="test", help_text="Numbers on val are marked and stay off the board.")
    field_order: tuple[str, ...] = ("artifact", "data", "split", "lane")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.files = {file.sha256: file for file in model_files(roles=(*CHECKPOINT_ROLES, *EXPORT_ROLES))}
        self.fields["artifact"].choices = _model_choices(self.files.values())  # type: ignore[attr-defined]

    def shared(self, cleaned: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return what both kinds of measurement need, and the job's title."""
        dataset, _ = self.dataset(cleaned)
        file = self.files[cleaned["artifact"]]
        artifact = InputFile(sha256=file.sha256, name=file.name)
        fields = {"artifact": artifact, "backend": file.backend, "dataset": dataset, "split": cleaned["split"], "device": _device(cleaned["lane"])}
        title = file.job_title if file.job_title.endswith(file.backend) else f"{file.job_title} · {file.backend}"
        return fields, title


class EvaluateForm(MeasureForm):
    """One evaluation."""

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one evaluation."""
        fields, title = self.shared(cleaned)
        return _single(EvaluateSpec(**fields, threads=lane_threads(cleaned["lane"])), title, cleaned["lane"])


class BenchmarkForm(MeasureForm):
    """One latency measurement."""

    duration = forms.ChoiceField(label="Latency protocol", choices=_duration_choices, initial="quick")
    threads = forms.IntegerField(
        label="Threads", required=False, min_value=1, max_value=256, help_text="Part of the result's conditions. Empty means half of what the worker has."
    )
    field_order = ("artifact", "data", "split", "duration", "threads", "lane")

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the one latency measurement."""
        fields, title = self.shared(cleaned)
        threads = cleaned.get("threads") or max(1, lane_threads(cleaned["lane"]) // 2)
        return _single(BenchmarkSpec(**fields, duration=cleaned["duration"], threads=threads), title, cleaned["lane"])


def _single(spec: JobSpec, title: str, lane: str) -> list[PlannedJob]:
    return [PlannedJob(alias=spec.kind, spec=spec, title=title[:200], lane=lane, priority=0, needs={})]
