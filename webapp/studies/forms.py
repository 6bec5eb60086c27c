"""The form that queues a study."""

from __future__ import annotations

from typing import Any

from django import forms

from detection_core.catalogue.studies import Study
from webapp.jobs.forms.base import QueueForm, data_choices, data_chosen, duration_choices, set_choices, stored_versions
from webapp.jobs.forms.pipeline import PipelineForm
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob
from webapp.studies.plan import MOST_SEEDS, TESTED_SPLIT, StudyRequest, study_plan


class SeedsField(forms.CharField):
    """Whole numbers, separated by commas; cleaned to a tuple."""

    def clean(self, value: Any) -> tuple[int, ...]:
        """Read the numbers; each once, at most ten."""
        parts = [part.strip() for part in str(super().clean(value)).split(",")]
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            raise forms.ValidationError("write whole numbers from 0, separated by commas, such as 0, 1, 2")
        seeds = tuple(int(part) for part in parts)
        if len(set(seeds)) < len(seeds):
            raise forms.ValidationError("give each seed once: the same seed is the same training")
        if len(seeds) > MOST_SEEDS:
            raise forms.ValidationError(f"give at most {MOST_SEEDS} seeds")
        return seeds


class StudyForm(QueueForm):
    """Which data, how long, how often."""

    missing = "Choose a data set to see what will be queued."
    request: StudyRequest

    dataset = forms.ChoiceField(label="Data set", help_text="A stored version, or one that this project brings along.")
    epochs = forms.IntegerField(
        label="Epochs of each training",
        required=False,
        min_value=1,
        max_value=10_000,
        help_text="The same for every arm, so that each sees as many images. Empty means as many as the minutes allow.",
    )
    minutes = forms.FloatField(
        label="Minutes of each training at most",
        required=False,
        min_value=0.1,
        max_value=24 * 60,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text="Empty means that the epochs alone end it. Where minutes end it, a slower arm sees fewer images.",
    )
    seeds = SeedsField(label="Seeds", help_text="Every arm is trained once with each. One seed tells nothing of the chance in a training.")
    input_size = PipelineForm.base_fields["input_size"]
    duration = forms.ChoiceField(label="Latency protocol", choices=duration_choices, initial="quick")
    field_order = ("dataset", "epochs", "minutes", "seeds", "input_size", "duration", "lane")

    def __init__(self, study: Study, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.study = study
        self.versions = {} if study.data else stored_versions()
        self.initial = {
            "dataset": f"builtin:{study.dataset}",
            "epochs": study.epochs,
            "seeds": ", ".join(map(str, study.seeds)),
            **self.initial,
        }
        if study.data:
            del self.fields["dataset"]
        else:
            set_choices(self, "dataset", data_choices(self.versions))
        if not study.latency:
            del self.fields["duration"]

    def plan(self, cleaned: dict[str, Any]) -> list[PlannedJob]:
        """Return the study's jobs."""
        data = {} if self.study.data else data_chosen(cleaned["dataset"], self.versions, "train", "val", TESTED_SPLIT)
        taken = [name for name in ("epochs", "minutes", "seeds", "input_size", "duration", "lane") if name in self.fields]
        self.request = StudyRequest.parse({"study": self.study.name} | data | {name: cleaned[name] for name in taken})
        return study_plan(self.request, threads=lane_threads(cleaned["lane"]))
