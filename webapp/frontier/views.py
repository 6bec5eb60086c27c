"""The first page: accuracy against latency, within one group."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.frontier.figures import frontier_figure
from webapp.frontier.selectors import Frontier, frontier
from webapp.results.forms import board_chips
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
