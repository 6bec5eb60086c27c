"""The first user and access.json: made once, kept, and made anew when lost."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from deploy.local.first_run import USER, write_access

pytestmark = pytest.mark.django_db


def _written(access: Path, *, own_database: bool = True) -> dict[str, Any]:
    write_access(access, own_database=own_database)
    return json.loads(access.read_text())


def _user() -> Any:
    from webapp.accounts.models import User

    return User.objects.get(username=USER)


def test_the_first_run_makes_a_user_who_can_log_in_and_a_token_that_works(tmp_path: Path) -> None:
    from webapp.accounts.services import token_user

    written = _written(tmp_path / "access.json")
    assert _user().check_password(written["password"]) and _user().is_superuser
    assert token_user(plain=written["token"]) == _user()
    assert stat.S_IMODE((tmp_path / "access.json").stat().st_mode) == 0o600


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    assert _written(tmp_path / "access.json") == _written(tmp_path / "access.json")


def test_a_new_address_is_written_down(tmp_path: Path, settings: Any) -> None:
    before = _written(tmp_path / "access.json")
    settings.SITE_URL = "http://127.0.0.1:9999"
    assert _written(tmp_path / "access.json") == {**before, "url": "http://127.0.0.1:9999"}


def test_a_password_that_was_changed_on_the_site_stays(tmp_path: Path) -> None:
    _written(tmp_path / "access.json")
    user = _user()
    user.set_password("chosen by its owner")
    user.save()
    _written(tmp_path / "access.json")
    assert _user().check_password("chosen by its owner")


def test_a_lost_access_file_is_made_anew(tmp_path: Path) -> None:
    before = _written(tmp_path / "access.json")
    (tmp_path / "access.json").unlink()
    after = _written(tmp_path / "access.json")
    assert after["password"] != before["password"] and _user().check_password(after["password"])


def test_in_a_database_of_others_no_password_is_changed(tmp_path: Path) -> None:
    before = _written(tmp_path / "access.json")
    (tmp_path / "access.json").unlink()
    after = _written(tmp_path / "access.json", own_database=False)
    assert after["password"] is None and after["token"] not in (None, before["token"])
    assert _user().check_password(before["password"])


def test_after_the_database_was_lost_the_known_password_works_again(tmp_path: Path) -> None:
    before = _written(tmp_path / "access.json")
    _user().delete()
    after = _written(tmp_path / "access.json")
    assert after["password"] == before["password"] and _user().check_password(after["password"])
    assert after["token"] != before["token"]
