"""The app's name in Django."""

from django.apps import AppConfig


class DetectorsConfig(AppConfig):
    """Detectors."""

    name = "webapp.detectors"
    label = "detectors"
