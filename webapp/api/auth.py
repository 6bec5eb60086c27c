"""Who calls: a bearer token, or the browser's session."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from webapp.accounts.models import User
from webapp.accounts.services import token_user


class Bearer(HttpBearer):
    """`Authorization: Bearer pbx_...`"""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Return the token's user, or None."""
        return token_user(plain=token)


def may_read(request: HttpRequest) -> User | bool | None:
    """Reading is open where PUBLIC_READ is set."""
    return True if settings.PUBLIC_READ else None


ACT = [Bearer(), SessionAuth(csrf=True)]
READ = [*ACT, may_read]


def caller(request: HttpRequest) -> User:
    """Return the user behind an authenticated call."""
    user = request.auth  # type: ignore[attr-defined]
    assert isinstance(user, User)
    return user
