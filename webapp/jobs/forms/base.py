"""What every form that queues has, and the choices that several of them offer."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, cast

from django import forms

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.scenarios import DURATIONS
from detection_core.schemas.base import InvalidInput
from webapp.datasets.models import DatasetVersion
from webapp.datasets.selectors import version_choices
from webapp.hardware.selectors import lanes_served
from webapp.jobs.services import PlannedJob

MOST_VERSIONS = 200
SPLITS = (("test", "test"), ("val", "val, the split that chose the checkpoint"))
SPLIT_HELP = "Numbers on val are marked and stay off the board."


def duration_choices() -> list[tuple[str, str]]:
    """Return the latency protocols with what they ask for."""
    return [
        (
            rule.name,
            f"{rule.name}: {rule.runs} run{'s' if rule.runs > 1 else ''} of at least {rule.min_samples} images, "
            f"at most {rule.max_seconds:g} s each",
        )
        for rule in DURATIONS.values()
    ]


def stored_versions() -> dict[str, DatasetVersion]:
    """Return the newest data set versions by uuid."""
    return {str(version.uuid): version for version in version_choices()[:MOST_VERSIONS]}


def version_label(version: DatasetVersion) -> str:
    """Name a version with its images in each split."""
    counts = [(name, version.splits.get(name, {}).get("images", 0)) for name in ("train", "val", "test")]
    return f"{version} ({', '.join(f'{images} {name}' for name, images in counts if images)})"


def data_choices(versions: Mapping[str, DatasetVersion]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the data sets that jobs may start from: stored versions, and those that a job imports first."""
    known = {name: (f"builtin:{name}", f"{entry.title}: {entry.about}") for name, entry in DATASETS.items()}
    groups = [
        ("Stored", [(f"version:{key}", version_label(version)) for key, version in versions.items()]),
        ("Built in, imported first", [choice for name, choice in known.items() if not DATASETS[name].downloads]),
        ("Downloaded by the worker, imported first", [choice for name, choice in known.items() if DATASETS[name].downloads]),
    ]
    return [group for group in groups if group[1]]


def data_chosen(choice: str, versions: Mapping[str, DatasetVersion], *splits: str) -> dict[str, Any]:
    """Return one of `data_choices` as requests have it; a stored version must have images in `splits`."""
    kind, _, value = choice.partition(":")
    if kind == "builtin":
        return {"import_ref": value, "dataset_name": value}
    version = versions[value]
    splits_required(version, *splits)
    return {"dataset_sha256": version.artifact_id, "dataset_name": str(version)}


def splits_required(version: DatasetVersion, *names: str) -> None:
    """Refuse a data set without images in one of these splits."""
    present = [name for name in ("train", "val", "test") if version.splits.get(name, {}).get("images")]
    for name in names:
        if name not in present:
            raise InvalidInput(f"{version} has no {name} images, only {' and '.join(present)}; choose another data set or split")


def set_choices(form: forms.Form, name: str, choices: list[Any]) -> None:
    """Give a field the choices that the database holds now."""
    cast(forms.ChoiceField, form.fields[name]).choices = choices


class RecipeField(forms.JSONField):
    """Further fields of a recipe as a JSON object, {} where nothing is written."""

    def __init__(self) -> None:
        super().__init__(
            label="Recipe",
            required=False,
            widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": '{"augmentation": {"mosaic": 1.0}}'}),
            help_text="Further fields of a recipe as JSON: augmentation, schedule, loss, neck. docs/recipes.md lists them.",
            error_messages={"invalid": 'this is no JSON; write an object such as {"augmentation": {"mosaic": 1.0}}'},
        )

    def clean(self, value: Any) -> dict[str, Any]:
        """Read the object; the fields themselves are checked where the recipe is made."""
        found = super().clean(value)
        if found is not None and not isinstance(found, dict):
            raise forms.ValidationError('this is no object; write one such as {"augmentation": {"mosaic": 1.0}}')
        return found or {}


class QueueForm(forms.Form):
    """A form that queues: a token makes a second click harmless; `missing` is said while the form is incomplete."""

    missing = "Fill in the fields above to see what will be queued."
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4, required=False)
    lane = forms.ChoiceField(label="Lane", help_text="Workers serve lanes; a lane is named for what it runs on.")
    planned: list[PlannedJob]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        served = set(lanes_served())
        lanes = [(lane, lane if lane in served else f"{lane} (no worker serves it now)") for lane in sorted(served | {"cpu"})]
        set_choices(self, "lane", lanes)

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
        """Return the key under which a second submission of this very form is the first one again; changed after "back" it is another."""
        token = self.cleaned_data.get("token")
        asked = "".join(f"{job.alias} {job.lane} {job.spec.to_json()}" for job in self.planned)
        return f"form:{token}:{hashlib.sha256(asked.encode()).hexdigest()[:16]}" if token else None

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
    for value, label in cast(list[tuple[Any, Any]], field.choices):
        return label[0][0] if isinstance(label, list | tuple) else value
    return None
