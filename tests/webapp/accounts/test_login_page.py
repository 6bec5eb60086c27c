"""Login, logout, and who may see the account page."""

from __future__ import annotations

from tests.factories import PASSWORD


def test_a_person_logs_in_and_returns_to_the_page_they_came_for(client, alice):
    answer = client.post("/login?next=/account", {"username": "alice", "password": PASSWORD, "next": "/account"})
    assert answer.status_code == 302
    assert answer["Location"] == "/account"


def test_the_login_never_leads_to_another_site(client, alice):
    answer = client.post("/login", {"username": "alice", "password": PASSWORD, "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"


def test_a_wrong_password_is_answered_with_a_sentence_and_no_session(client, alice):
    answer = client.post("/login", {"username": "alice", "password": "something else"})
    assert "do not belong together" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_a_closed_account_cannot_log_in(client, charlie):
    client.post("/login", {"username": "charlie", "password": PASSWORD})
    assert "_auth_user_id" not in client.session


def test_logout_takes_a_post_and_ends_the_session(alice_client):
    assert alice_client.get("/logout").status_code == 405
    alice_client.post("/logout")
    assert "_auth_user_id" not in alice_client.session


def test_the_account_page_asks_for_a_login(client, db):
    assert client.get("/account")["Location"] == "/login?next=/account"


def test_where_reading_is_closed_every_page_asks_for_a_login(client, db, settings):
    settings.PUBLIC_READ = False
    for path in ("/", "/leaderboard", "/models", "/hardware"):
        assert client.get(path)["Location"].startswith("/login?next="), path
