"""The app's name in Django."""

from django.apps import AppConfig


class CompareConfig(AppConfig):
    """Two or more results beside one another."""

    name = "webapp.compare"
    label = "compare"
