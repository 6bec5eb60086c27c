"""The API, version 1: every router under one OpenAPI document."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from ninja import NinjaAPI

from detection_core.schemas.base import InvalidInput
from webapp.api import assignment, boards, catalogue, foreign, jobs, studies, uploads

api = NinjaAPI(
    title="Paretobox",
    version="1",
    description="Queue jobs, read results, download checkpoints. Act with a bearer token from your account page.",
    urls_namespace="api",
    openapi_url="/openapi.json",
    docs_url=None,
)
api.add_router("", catalogue.router, tags=["catalogue"])
api.add_router("", assignment.router, tags=["catalogue"])
api.add_router("", uploads.router, tags=["files"])
api.add_router("", jobs.router, tags=["jobs"])
api.add_router("", studies.router, tags=["studies"])
api.add_router("", foreign.router, tags=["brought in"])
api.add_router("", boards.router, tags=["results"])


@api.exception_handler(InvalidInput)
def invalid_input(request: HttpRequest, error: InvalidInput) -> HttpResponse:
    """Answer 422 with the sentence."""
    return api.create_response(request, {"detail": str(error)}, status=422)


urlpatterns = [path("api/v1/", api.urls)]
