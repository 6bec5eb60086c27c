"""Who may read: everyone where PUBLIC_READ is set, else people who are logged in."""

from __future__ import annotations

from collections.abc import Callable

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

OPEN_PATHS = ("/login", "/static/", "/healthz", "/readyz", "/metrics", "/api/")


@sync_and_async_middleware
def ReadAccessMiddleware(get_response: Callable):
    """Send people who may not read to the login page. The API answers for itself."""

    def refused(request: HttpRequest) -> HttpResponseBase | None:
        if settings.PUBLIC_READ or request.path.startswith(OPEN_PATHS):
            return None
        return None if request.user.is_authenticated else redirect_to_login(request.get_full_path())

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            if settings.PUBLIC_READ or request.path.startswith(OPEN_PATHS):
                return await get_response(request)
            user = await request.auser()
            return await get_response(request) if user.is_authenticated else redirect_to_login(request.get_full_path())
    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:
            return refused(request) or get_response(request)

    return middleware
