"""Pages in tests are rendered without a collected static folder."""

import pytest


@pytest.fixture(autouse=True)
def plain_static_files(settings) -> None:
    """Serve static files by their plain names: the hashed ones exist only after collectstatic."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
