"""The system checks find what would go wrong later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webapp import checks


def _ids(found: list[Any]) -> list[str]:
    return [message.id for message in found]


def test_a_short_secret_key_is_an_error(settings: Any) -> None:
    settings.SECRET_KEY = "short"
    assert _ids(checks.check_secret_key()) == ["paretobox.E001"]
    settings.SECRET_KEY = "x" * 50
    assert checks.check_secret_key() == []


def test_a_folder_that_cannot_be_written_is_named(settings: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    settings.FILE_UPLOAD_TEMP_DIR = blocked / "uploads"
    found = checks.check_folders()
    assert _ids(found) == ["paretobox.E002"]
    assert str(blocked) in found[0].msg and "UPLOAD_DIR" in found[0].msg


def test_too_little_room_for_one_upload_is_a_warning(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    settings.UPLOAD_MAX_BYTES = 2**62
    assert _ids(checks.check_upload_room()) == ["paretobox.W003"]


@pytest.mark.parametrize(("url", "https", "ids"), [("http://box.example", False, ["paretobox.W004"]), ("https://box.example", True, [])])
def test_a_site_on_a_network_without_https_is_a_warning(settings: Any, url: str, https: bool, ids: list[str]) -> None:
    settings.SITE_URL, settings.HTTPS = url, https
    assert _ids(checks.check_https()) == ids


def test_a_site_on_the_loopback_needs_no_https(settings: Any) -> None:
    settings.SITE_URL, settings.HTTPS = "http://127.0.0.1:8000", False
    assert checks.check_https() == []


def test_an_address_that_the_site_refuses_is_an_error(settings: Any) -> None:
    settings.SITE_URL, settings.ALLOWED_HOSTS = "https://box.example", ["other.example"]
    assert _ids(checks.check_site_url()) == ["paretobox.E005"]
    settings.ALLOWED_HOSTS = ["*"]
    assert _ids(checks.check_site_url()) == ["paretobox.E006"]


@pytest.mark.django_db
def test_folder_storage_with_a_worker_on_another_host_is_refused(settings: Any) -> None:
    from tests.factories import make_worker

    make_worker("far-away", host="another-host")
    found = checks.check_storage_is_shared(databases=["default"])
    assert _ids(found) == ["paretobox.E007"]
    assert "another-host" in found[0].msg
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {}}}
    assert checks.check_storage_is_shared(databases=["default"]) == []


@pytest.mark.django_db
def test_a_worker_that_stopped_long_ago_does_not_count() -> None:
    from tests.factories import make_worker

    make_worker("far-away", host="another-host", seconds_ago=3600)
    assert checks.check_storage_is_shared(databases=["default"]) == []
