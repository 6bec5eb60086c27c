"""The app's name in Django."""

from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    """Artifacts. As the lowest app with settings to check, it also brings in the site's system checks."""

    name = "webapp.artifacts"
    label = "artifacts"

    def ready(self) -> None:
        """Register the checks."""
        from webapp import checks  # noqa: F401 - registering is what the import does
