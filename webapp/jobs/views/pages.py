"""Pages that read: the list of jobs, one job, one suite."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from webapp.jobs import selectors
from webapp.jobs.detail import job_panel, job_record
from webapp.jobs.listing import job_rows
from webapp.jobs.models import Job, Suite
from webapp.jobs.presentation import KIND_TITLES
from webapp.jobs.states import State
from webapp.jobs.suites import suite_matrix, suite_state
from webapp.jobs.views.polling import polled_page

PER_PAGE = 50


@dataclass(frozen=True)
class JobFilters:
    """What a reader asked for, as it stands in the URL; what cannot be used is left out."""

    state: str = ""
    kind: str = ""
    suite: str = ""
    search: str = ""

    @classmethod
    def from_query(cls, query: Any) -> JobFilters:
        """Read the filters from a request's query."""
        state, kind, suite = query.get("state", ""), query.get("kind", ""), query.get("suite", "")
        return cls(
            state=state if state in State.values else "",
            kind=kind if kind in KIND_TITLES else "",
            suite=suite if _is_uuid(suite) else "",
            search=query.get("search", "").replace("\x00", "").strip()[:100],
        )

    @property
    def any(self) -> bool:
        """Say whether anything is filtered."""
        return any(asdict(self).values())


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """List jobs, the newest first."""
    filters = JobFilters.from_query(request.GET)
    number = request.GET.get("page", "1")
    page = selectors.job_list(**asdict(filters), page=int(number[:9]) if number.isdecimal() else 1, per_page=PER_PAGE)
    context = {"filters": filters, "page": page, "rows": job_rows(page.jobs), "states": State.values, "kinds": KIND_TITLES}
    return polled_page(request, "jobs/list.html", "jobs/_rows.html", context)


@require_GET
def job_detail(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show one job; the live script asks for the panel alone after each move."""
    job = get_object_or_404(Job.objects.select_related("suite", "created_by"), uuid=uuid)
    if "panel" in request.GET:
        return render(request, "jobs/_panel.html", job_panel(job))
    return render(request, "jobs/detail.html", job_panel(job) | job_record(job))


@require_GET
def suite_detail(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show a suite as a matrix of models and steps; polling ends when every job has."""
    suite = get_object_or_404(Suite.objects.select_related("created_by"), uuid=uuid)
    rows = job_rows(list(suite.jobs.order_by("id")))
    state = suite_state(rows)
    context = {"suite": suite, "state": state, "matrix": suite_matrix(rows)}
    return polled_page(request, "jobs/suite.html", "jobs/_suite.html", context, final=state.final)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
