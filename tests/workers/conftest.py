"""Folders of their own for the bytes and the state that a test makes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(settings, tmp_path: Path) -> None:
    """Keep stored bytes and the worker's state in the test's own folder."""
    default = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "artifacts")}}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    settings.HOME = tmp_path / "home"
