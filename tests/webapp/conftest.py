"""Pages in tests are rendered without a collected static folder, and passwords are hashed quickly."""

import pytest


@pytest.fixture(autouse=True)
def plain_static_files(settings) -> None:
    """Serve static files by their plain names: the hashed ones exist only after collectstatic."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture(autouse=True)
def quick_password_hashes(settings) -> None:
    """Hash passwords with a function that is weak on purpose: the real one takes a second for each person."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
