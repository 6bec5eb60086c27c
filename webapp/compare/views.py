"""Results beside one another."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.compare.rows import comparison_rows
from webapp.compare.selectors import MOST, NUMBERS, chosen_results, comparable_with, verdicts


def compare(request: HttpRequest) -> HttpResponse:
    """Show two to eight results side by side; the URL holds their ids and the number that decides."""
    results = chosen_results(",".join([request.GET.get("results", ""), request.GET.get("add", "")]))
    number = request.GET.get("number", "ap")
    number = number if number in NUMBERS else "ap"
    ids = [str(row.uuid) for row in results]
    context = {
        "results": results,
        "rows": comparison_rows(results, all_rows=request.GET.get("show") == "all"),
        "verdicts": verdicts(results, number=number),
        "number": number,
        "numbers": NUMBERS,
        "addable": [row for row in comparable_with(results[0]) if str(row.uuid) not in ids] if results and len(results) < MOST else [],
        "ids": ",".join(ids),
        "without": {row.pk: ",".join(one for one in ids if one != str(row.uuid)) for row in results},
        "show_all": request.GET.get("show") == "all",
    }
    return render(request, "compare/compare.html", context)
