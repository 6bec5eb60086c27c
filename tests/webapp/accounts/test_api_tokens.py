"""API tokens on the account page: shown once, revocable, one's own only."""

from __future__ import annotations

import re
from datetime import timedelta

from django.utils import timezone

from webapp.accounts.models import ApiToken
from webapp.accounts.services import token_create, token_user


def _shown(answer) -> str:
    found = re.search(r'id="token-plain">([^<]+)<', answer.content.decode())
    assert found, "the page shows no token"
    return found[1]


def test_a_new_token_is_shown_once_and_works(alice_client, alice):
    plain = _shown(alice_client.post("/account", {"name": "laptop", "days": "90"}))
    assert token_user(plain=plain) == alice
    assert plain not in alice_client.get("/account").content.decode()


def test_the_database_never_holds_the_plain_token(alice_client):
    plain = _shown(alice_client.post("/account", {"name": "laptop", "days": ""}))
    assert plain not in str(list(ApiToken.objects.values()))


def test_a_token_ends_after_the_days_that_were_chosen(alice_client):
    alice_client.post("/account", {"name": "sweep", "days": "30"})
    token = ApiToken.objects.get()
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


def test_a_token_without_a_name_is_refused_at_the_field(alice_client):
    for name in ("", "   "):
        answer = alice_client.post("/account", {"name": name, "days": "30"})
        assert answer.status_code == 400
        assert "has no name" in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_a_revoked_token_no_longer_works(alice_client, alice):
    plain = token_create(user=alice, name="old")
    alice_client.post(f"/account/tokens/{ApiToken.objects.get().id}/revoke")
    assert token_user(plain=plain) is None


def test_nobody_revokes_the_token_of_somebody_else(bob_client, alice):
    plain = token_create(user=alice, name="hers")
    bob_client.post(f"/account/tokens/{ApiToken.objects.get().id}/revoke")
    assert token_user(plain=plain) == alice


def test_a_token_is_not_revoked_by_a_mere_visit(alice_client, alice):
    token_create(user=alice, name="kept")
    assert alice_client.get(f"/account/tokens/{ApiToken.objects.get().id}/revoke").status_code == 405
    assert ApiToken.objects.count() == 1


def test_the_page_lists_only_ones_own_tokens(bob_client, alice):
    token_create(user=alice, name="a name only Alice knows")
    assert "only Alice" not in bob_client.get("/account").content.decode()
