"""What the chosen detectors could learn from the chosen data set, counted before anything is queued."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from webapp.jobs.assignment import AssignmentRow, assignment_rows
from webapp.jobs.forms.pipeline import PipelineForm

# What a form sends besides its choices; none of it belongs into an address.
NOT_CHOICES = ("csrfmiddlewaretoken", "token", "show", "fit", "kind")


@dataclass(frozen=True)
class AssignmentPanel:
    """The rows of the chosen detectors, or what is missing for them; `query` is the form as an address has it."""

    rows: tuple[AssignmentRow, ...] = ()
    missing: str = ""
    query: str = ""

    @property
    def sampled(self) -> AssignmentRow | None:
        """Return a row that was counted on a sample, to tell of it."""
        return next((row for row in self.rows if row.report is not None and row.report.sampled), None)

    @property
    def counted(self) -> AssignmentRow | None:
        """Return a row with a report, to tell of the data set."""
        return next((row for row in self.rows if row.report is not None), None)


@login_required
@require_GET
def job_assignment(request: HttpRequest) -> HttpResponse:
    """Show the panel for the form as it stands; without JavaScript the whole page with the panel in it."""
    if "HX-Request" not in request.headers:
        choices = _choices(request.GET)
        fit = request.GET.get("fit")
        return redirect(f"{reverse('job-new')}?{urlencode([*choices, ('show', 'assignment'), *([('fit', fit)] if fit else [])])}")
    panel = assignment_panel(PipelineForm(request.GET), fit=request.GET.get("fit", ""))
    return render(request, "jobs/_assignment.html", {"assignment": panel})


def assignment_panel(form: PipelineForm, *, fit: str = "") -> AssignmentPanel:
    """Count for what a form has chosen, whatever else in it is not filled in yet."""
    bound = form if form.is_bound else PipelineForm({**form.initial_values, "token": ""})
    bound.full_clean()
    chosen = bound.cleaned_data
    models, version = chosen.get("models") or [], bound.version_chosen
    if not models or not chosen.get("dataset"):
        return AssignmentPanel(missing="Choose a data set and at least one detector to see what it could learn.")
    if version is None:
        return AssignmentPanel(
            missing="This data set is not stored yet: what detectors could learn from it can be seen once it is imported."
        )
    if "input_size" not in chosen:
        return AssignmentPanel(missing="Correct the input size to see what the detectors could learn.")
    anchors = chosen.get("anchors") or {}
    rows = assignment_rows(version.artifact_id, models, input_size=chosen["input_size"], anchors=anchors, fit=fit)
    return AssignmentPanel(tuple(rows), query=urlencode(_choices(_sent(bound))))


def _sent(form: PipelineForm) -> QueryDict:
    if isinstance(form.data, QueryDict):
        return form.data
    sent = QueryDict(mutable=True)
    for name, value in form.data.items():
        sent.setlist(name, [str(item) for item in value] if isinstance(value, list | tuple) else [] if value is None else [str(value)])
    return sent


def _choices(sent: QueryDict) -> list[tuple[str, str]]:
    return [(name, value) for name, values in sent.lists() if name not in NOT_CHOICES for value in values if value]
