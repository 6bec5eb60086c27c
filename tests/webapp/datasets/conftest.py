"""Data set tests keep what they store and scale to themselves."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_storage(settings, tmp_path):
    """Keep the artifacts and scaled images of a test to itself."""
    location = {"location": str(tmp_path)}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}
    settings.SCALED_IMAGES_DIR = tmp_path / "scaled"
    return tmp_path
