"""Parts of a page that ask for themselves every three seconds and are answered only when they changed."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string


def polled_page(request: HttpRequest, page: str, part: str, context: dict[str, Any], *, final: bool = False) -> HttpResponse:
    """Answer with the whole page, or to a poll with `part` alone: 204 where it is as the reader has it.

    The page shows the part as `{{ part }}`. A final part comes without the polling, which ends it.
    """
    query = request.GET.copy()
    seen = query.pop("seen", [""])[-1]
    request.GET = query  # type: ignore[assignment]
    inner = render_to_string(part, context, request)
    digest = hashlib.sha256(inner.encode()).hexdigest()[:16]
    if request.headers.get("HX-Request") and seen == digest:
        return HttpResponse(status=204)
    query["seen"] = digest
    polling = {"inner": inner, "poll_url": "" if final else f"{request.path}?{query.urlencode()}"}
    query.pop("seen")
    if request.headers.get("HX-Request"):
        return render(request, "jobs/_polled.html", polling)
    return render(request, page, context | {"part": render_to_string("jobs/_polled.html", polling, request)})
