"""The pipeline's form: several detectors on one data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms

from detection_core.assignment.layouts import AnchorOptions
from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.specs import Detector, Family
from detection_core.schemas.base import InvalidInput
from webapp.datasets.models import DatasetVersion
from webapp.jobs.assignment import anchors_of
from webapp.jobs.forms.base import (
    SPLIT_HELP,
    SPLITS,
    QueueForm,
    RecipeField,
    data_choices,
    data_chosen,
    duration_choices,
    set_choices,
    stored_versions,
)
from webapp.jobs.pipeline import PipelineRequest, pipeline_plan
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob

BACKENDS = (("eager", "PyTorch eager, the checkpoint itself"), ("onnxruntime", "ONNX Runtime, the exported file"))


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
        return f"{self.detector.params_m:.3g} M · {stages} · {self.detector.input_size} px"


@dataclass(frozen=True)
class DetectorGroup:
    """The check boxes of one family."""

    family: Family
    choices: tuple[DetectorChoice, ...]


class AnchorsField(forms.Field):
    """Anchors that the assignment panel offers, one value a model; cleaned to a dict from models to AnchorOptions."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> dict[str, AnchorOptions]:
        """Read every value; what cannot be read is an error of the form."""
        try:
            return dict(anchors_of(item) for item in value or ())
        except InvalidInput as error:
            raise forms.ValidationError(str(error)) from None


class PipelineForm(QueueForm):
    """Several models on one data set: train, export, evaluate and time each of them."""

    missing = "Choose a data set and at least one detector to see what will be queued."
    request: PipelineRequest

    dataset = forms.ChoiceField(label="Data set", help_text="A stored version, or one that this project brings along.")
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
    duration = forms.ChoiceField(label="Latency protocol", choices=duration_choices, initial="quick", widget=forms.RadioSelect)
    split = forms.ChoiceField(label="Measure on", choices=SPLITS, initial="test", help_text=SPLIT_HELP)
    input_size = forms.IntegerField(
        label="Input size, px",
        required=False,
        min_value=64,
        max_value=2048,
        step_size=32,
        error_messages={"step_size": "use a multiple of 32, such as 256 or 320"},
        help_text="A multiple of 32. Empty means each detector's own size.",
        widget=forms.NumberInput(attrs={"placeholder": "own size"}),
    )
    seed = forms.IntegerField(
        label="Seed", initial=0, min_value=0, max_value=2**31 - 1, help_text="The same seed on the same machine gives the same weights."
    )
    recipe = RecipeField()
    anchors = AnchorsField(label="Anchors", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.versions = stored_versions()
        set_choices(self, "dataset", data_choices(self.versions))

    @property
    def version_chosen(self) -> DatasetVersion | None:
        """Return the stored version that a bound form names, None for a data set that is imported first."""
        kind, _, value = str(self.cleaned_data.get("dataset") or "").partition(":")
        return self.versions.get(value) if kind == "version" else None

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
        taken = ("models", "backends", "minutes", "duration", "split", "input_size", "seed", "recipe", "lane")
        data = data_chosen(cleaned["dataset"], self.versions, "train", "val", cleaned["split"])
        # Anchors of a model that is not chosen any more mean nothing.
        data["model_options"] = {name: options for name, options in cleaned["anchors"].items() if name in cleaned["models"]}
        self.request = PipelineRequest.parse(data | {name: cleaned[name] for name in taken})
        return pipeline_plan(self.request, threads=lane_threads(cleaned["lane"]))
