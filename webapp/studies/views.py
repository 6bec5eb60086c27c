"""The studies: what is asked, what papers found, what was found here, and a form that queues the trainings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from detection_core.catalogue.studies import STUDIES, Study
from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User
from webapp.jobs.models import Suite
from webapp.jobs.plan import PlanSummary, plan_summary
from webapp.jobs.presentation import about
from webapp.studies.figures import study_figure
from webapp.studies.forms import StudyForm
from webapp.studies.outcome import outcome_of
from webapp.studies.selectors import newest_runs, run_found, run_shown, study_runs
from webapp.studies.services import study_queue
from webapp.studies.words import outcome_sentences


@require_GET
def study_list(request: HttpRequest) -> HttpResponse:
    """List the studies with their newest runs."""
    newest = newest_runs()
    return render(request, "studies/list.html", {"studies": [(study, _takes(study), newest.get(study.name)) for study in STUDIES.values()]})


@require_http_methods(["GET", "POST"])
def study_detail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one run of a study beside the papers' numbers, or queue a run."""
    study = _study(name)
    if request.method == "POST" and not request.user.is_authenticated:
        return redirect_to_login(reverse("study-detail", args=[name]))
    form = StudyForm(study, request.POST) if request.method == "POST" else StudyForm(study)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect("suite-detail", _queue(form, request.user).uuid)  # type: ignore[arg-type]
        except InvalidInput as error:
            form.add_error(None, str(error))
    context = _read(study, _uuid(request.GET.get("suite", ""))) | {"form": form, "plan": _summary(form)}
    return render(request, "studies/detail.html", context, status=400 if form.errors else 200)


@login_required
@require_GET
def study_plan_words(request: HttpRequest, name: str) -> HttpResponse:
    """Say in words what the form would queue as it stands; nothing is written."""
    return render(request, "jobs/_plan.html", {"plan": _summary(StudyForm(_study(name), request.GET))})


def _study(name: str) -> Study:
    if name not in STUDIES:
        raise Http404("there is no study of this name")
    return STUDIES[name]


def _read(study: Study, wanted: UUID | None) -> dict[str, Any]:
    runs = study_runs(study.name)
    run = run_shown(runs, name=study.name, wanted=wanted)
    if wanted is not None and run is None:
        raise Http404("this study has no such run")
    outcome = outcome_of(study, run_found(run) if run else None)
    return {
        "study": study,
        "takes": _takes(study),
        "runs": runs,
        "run": run,
        "outcome": outcome,
        "sentences": outcome_sentences(outcome),
        "figure": study_figure(outcome),
    }


def _queue(form: StudyForm, user: User) -> Suite:
    return study_queue(request=form.request, user=user, jobs=form.planned, idempotency_key=form.idempotency_key)


def _takes(study: Study) -> str:
    return about(60 * study.two_core_minutes)


def _summary(form: StudyForm) -> PlanSummary:
    if not form.is_bound:
        form = StudyForm(form.study, {**form.initial_values, "token": ""})
    return plan_summary(form.planned) if form.is_valid() else PlanSummary(missing=form.first_problem or form.missing)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
