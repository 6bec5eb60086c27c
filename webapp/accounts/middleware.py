"""Who may read: everyone where PUBLIC_READ is set, else people who are logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

OPEN_PATHS = ("/login", "/static/", "/healthz", "/readyz", "/metrics", "/api/")


@sync_and_async_middleware
def ReadAccessMiddleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:  # named as Django names them
    """Send people who may not read to the login page. The API answers for itself."""

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        if _open(request) or (await request.auser()).is_authenticated:
            return await get_response(request)
        return redirect_to_login(request.get_full_path())

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        if _open(request) or request.user.is_authenticated:
            return get_response(request)
        return redirect_to_login(request.get_full_path())

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def _open(request: HttpRequest) -> bool:
    return settings.PUBLIC_READ or request.path.startswith(OPEN_PATHS)
