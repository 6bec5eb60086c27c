"""Queueing jobs from the browser: a pipeline, or one job of a kind."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.datasets.selectors import previews_waiting
from webapp.jobs.forms.base import QueueForm
from webapp.jobs.forms.pipeline import PipelineForm
from webapp.jobs.forms.single import BenchmarkForm, EvaluateForm, ExportForm, MeasureForm, StoredDataForm, TrainForm
from webapp.jobs.plan import PlanSummary, plan_summary
from webapp.jobs.services import job_create, suite_create
from webapp.jobs.views.assignment import AssignmentPanel, assignment_panel


@dataclass(frozen=True)
class Preset:
    """One of the plain choices of the page."""

    name: str
    title: str
    lede: str
    button: str
    form: type[QueueForm]


@dataclass(frozen=True)
class Lacking:
    """What has to exist before a preset makes sense, and where to get it."""

    title: str
    words: str
    action: str
    url: str


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="pipeline",
            title="Pipeline",
            lede="Train several detectors on one data set, then measure how good and how fast each of them is.",
            button="Queue the pipeline",
            form=PipelineForm,
        ),
        Preset(
            name="train",
            title="Train",
            lede="Train one detector on the train split; its best weights are chosen on val.",
            button="Queue the training",
            form=TrainForm,
        ),
        Preset(
            name="export",
            title="Export",
            lede="Turn a checkpoint into an ONNX file and check that both answer alike.",
            button="Queue the export",
            form=ExportForm,
        ),
        Preset(
            name="evaluate",
            title="Evaluate",
            lede="Measure the accuracy of a checkpoint or an exported file on a split.",
            button="Queue the evaluation",
            form=EvaluateForm,
        ),
        Preset(
            name="benchmark",
            title="Time",
            lede="Measure the end-to-end latency of a checkpoint or an exported file on one machine.",
            button="Queue the measurement",
            form=BenchmarkForm,
        ),
    )
}
CHOSEN_BY_LINK = ("dataset", "model", "lane", "artifact", "checkpoint")
LISTS = ("models", "backends", "anchors")


@login_required
@require_http_methods(["GET", "POST"])
def job_new(request: HttpRequest) -> HttpResponse:
    """Show the form of a preset, or queue what it says."""
    preset = _preset(request)
    form = preset.form(request.POST) if request.method == "POST" else preset.form(initial=_initial(request))
    if request.method == "POST" and form.is_valid():
        try:
            return redirect(_queue(form, request.user))  # type: ignore[arg-type]
        except InvalidInput as error:
            form.add_error(None, str(error))
    context = {"preset": preset, "presets": PRESETS.values(), "form": form, "plan": _summary(form), "lacking": _lacking(form)}
    context |= {"previews": previews_waiting(), "assignment": _assignment(request, form)}
    return render(request, "jobs/new.html", context, status=400 if form.errors else 200)


@login_required
@require_GET
def job_plan(request: HttpRequest) -> HttpResponse:
    """Say in words what the form would queue as it stands; nothing is written."""
    return render(request, "jobs/_plan.html", {"plan": _summary(_preset(request).form(request.GET))})


def _preset(request: HttpRequest) -> Preset:
    return PRESETS.get(request.GET.get("kind", ""), PRESETS["pipeline"])


def _initial(request: HttpRequest) -> dict[str, object]:
    """Let a link choose something beforehand: `?dataset=version:<uuid>`, `?models=<name>`; with `show` it holds the whole form."""
    names = PipelineForm.base_fields if "show" in request.GET else CHOSEN_BY_LINK
    chosen: dict[str, object] = {name: request.GET[name] for name in names if request.GET.get(name)}
    return chosen | {name: request.GET.getlist(name) for name in LISTS if name in request.GET and (name == "models" or name in names)}


def _queue(form: QueueForm, user: User) -> str:
    if isinstance(form, PipelineForm):
        suite = suite_create(name=form.request.title, user=user, jobs=form.planned, idempotency_key=form.idempotency_key)
        return reverse("suite-detail", args=[suite.uuid])
    planned = form.planned[0]
    job = job_create(spec=planned.spec, user=user, title=planned.title, lane=planned.lane, idempotency_key=form.idempotency_key)
    return reverse("job-detail", args=[job.uuid])


def _summary(form: QueueForm) -> PlanSummary:
    if not form.is_bound:
        form = type(form)({**form.initial_values, "token": ""})
    if form.is_valid():
        return plan_summary(form.planned)
    return PlanSummary(missing=form.first_problem or form.missing)


def _assignment(request: HttpRequest, form: QueueForm) -> AssignmentPanel | None:
    """Return the panel where the page shall have it at once: asked for without JavaScript, or with anchors that a refused form holds."""
    if not isinstance(form, PipelineForm) or not ("show" in request.GET or form["anchors"].value()):
        return None
    return assignment_panel(form, fit=request.GET.get("fit", ""))


def _lacking(form: QueueForm) -> Lacking | None:
    if isinstance(form, StoredDataForm) and not form.versions:
        words = "A single job reads a stored data set. Import one, or queue a pipeline, which can bring a built-in one along."
        return Lacking("No data set is stored yet", words, "Import a data set", reverse("dataset-import"))
    if isinstance(form, ExportForm | MeasureForm) and not form.made:
        words = "Checkpoints and exported files that jobs make can be chosen here. Train a detector first."
        return Lacking("There is no model file yet", words, "Queue a training", reverse("job-new") + "?kind=train")
    return None
