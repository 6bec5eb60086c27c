"""Login, logout, and the account page with its API tokens."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from detection_core.schemas.base import InvalidInput
from webapp.accounts.forms import LoginForm, TokenForm
from webapp.accounts.models import User
from webapp.accounts.services import token_create, token_revoke

login = LoginView.as_view(template_name="accounts/login.html", authentication_form=LoginForm, redirect_authenticated_user=True)
logout = LogoutView.as_view()


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Show the reader's tokens; a POST makes one and shows its plain text this once."""
    assert isinstance(request.user, User)
    form = TokenForm(request.POST or None)
    plain = _make_token(request.user, form) if request.method == "POST" and form.is_valid() else None
    tokens = request.user.tokens.order_by("-created_at")
    context = {"form": form if plain is None else TokenForm(), "plain": plain, "tokens": tokens, "now": timezone.now()}
    return render(request, "accounts/account.html", context, status=400 if form.errors else 200)


def _make_token(user: User, form: TokenForm) -> str | None:
    days = form.cleaned_data["days"]
    expires_at = timezone.now() + timedelta(days=int(days)) if days else None
    try:
        return token_create(user=user, name=form.cleaned_data["name"], expires_at=expires_at)
    except InvalidInput as error:
        form.add_error("name", str(error))
        return None


@login_required
@require_POST
def token_delete(request: HttpRequest, token_id: int) -> HttpResponse:
    """Revoke one of the reader's tokens."""
    assert isinstance(request.user, User)
    token_revoke(user=request.user, token_id=token_id)
    messages.success(request, "The token is revoked. Programs that used it can no longer log in.")
    return redirect("account")
