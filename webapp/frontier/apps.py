"""The app's name in Django."""

from django.apps import AppConfig


class FrontierConfig(AppConfig):
    """Frontier."""

    name = "webapp.frontier"
    label = "frontier"
