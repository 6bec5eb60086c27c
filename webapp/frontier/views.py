"""The first page: accuracy against latency, within one group."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from detection_core.catalogue.published import claims_for
from webapp.frontier.figures import frontier_figure, published_figure
from webapp.frontier.published import PublishedFilters, claims, published_choices, published_points
from webapp.frontier.selectors import Frontier, frontier
from webapp.results.forms import Chip, board_chips
from webapp.results.models import Result
from webapp.results.selectors import BoardFilters

MOST_TABLE_ROWS = 200


def frontier_page(request: HttpRequest) -> HttpResponse:
    """Draw the front of one group; the URL holds the group and the chips."""
    filters = BoardFilters.from_query(request.GET)
    found = frontier(filters)
    context: dict[str, Any] = {"filters": filters, "found": found, "chips": board_chips(filters), "kept_fields": ("group", "suite", "show")}
    context |= _drawn(found) if found else {"any_results": Result.objects.exists()}
    return render(request, "frontier/frontier.html", context)


def _drawn(found: Frontier) -> dict[str, Any]:
    """A group may hold nothing to draw: its points are hidden by the chips and it has no front."""
    rows = [*found.points, *found.flagged]
    figure = frontier_figure(found.points, found.flagged, found.front) if rows or found.front else None
    return {"figure": figure, "table_rows": sorted(rows, key=lambda row: -(row.ap or 0))[:MOST_TABLE_ROWS], "drawn": len(rows)}


def published_page(request: HttpRequest) -> HttpResponse:
    """Draw what papers and project pages claim, one machine at a time, and set claims beside what was measured here."""
    filters = PublishedFilters.from_query(request.GET)
    rows = published_points(filters)
    choices = published_choices(filters)
    chips = [
        Chip(name=name, label=label, choices=choices[name], value=getattr(filters, name))
        for name, label in (("hardware", "Machine"), ("precision", "Precision"), ("nms", "NMS"), ("family", "Family"))
    ]
    context = {"chips": chips, "filters": filters, "rows": rows, "figure": published_figure(rows) if rows else None, "claims": claims()}
    return render(request, "frontier/published.html", context)


def model_claims(request: HttpRequest, name: str) -> HttpResponse:
    """Give the claims about one model as a part of its page."""
    return render(request, "frontier/claims.html", {"claims": claims(model=name), "published": claims_for(name), "name": name})
