"""Pages over the catalogue of detectors."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from detection_core.catalogue.detectors import FAMILIES
from webapp.detectors.selectors import detector_families, detector_get


def model_list(request: HttpRequest) -> HttpResponse:
    """List the detectors by family."""
    search = request.GET.get("search", "")
    return render(request, "detectors/model_list.html", {"families": detector_families(search=search), "search": search})


def model_detail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one detector: how it works, what it costs, where it comes from."""
    detector = detector_get(name)
    if detector is None:
        raise Http404("the catalogue has no model of this name")
    return render(request, "detectors/model_detail.html", {"detector": detector, "family": FAMILIES[detector.family]})
