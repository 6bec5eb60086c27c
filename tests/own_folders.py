"""A fixture for tests that store bytes: they lie in the test's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(settings, tmp_path: Path) -> None:
    """Keep stored bytes and the worker's state in the test's own folder."""
    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}
    settings.HOME = tmp_path / "home"
