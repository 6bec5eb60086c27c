"""Writes of accounts: users and API tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import ApiToken, User

PREFIX = "pbx_"


def token_create(*, user: User, name: str, expires_at: datetime | None = None) -> str:
    """Make an API token and return its plain text, which is stored nowhere and shown once."""
    name = name.strip()
    if not name:
        raise InvalidInput("the token has no name; give it one that says where it is used")
    plain = PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, name=name[:100], digest=_digest(plain), expires_at=expires_at)
    return plain


def token_revoke(*, user: User, token_id: int) -> None:
    """Delete a token of the user; one of somebody else is left alone."""
    ApiToken.objects.filter(user=user, id=token_id).delete()


def token_user(*, plain: str) -> User | None:
    """Return the active user a token belongs to, or None for an unknown, expired or revoked token."""
    now = timezone.now()
    token = (
        ApiToken.objects.select_related("user")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), digest=_digest(plain), user__is_active=True)
        .first()
    )
    if token is None:
        return None
    if token.last_used_at is None or token.last_used_at < now - timedelta(minutes=1):
        ApiToken.objects.filter(id=token.id).update(last_used_at=now)
    return token.user


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()
