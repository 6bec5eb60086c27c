"""The app's name in Django."""

from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    """Artifacts."""

    name = "webapp.artifacts"
    label = "artifacts"
