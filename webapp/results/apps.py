"""The app's name in Django."""

from django.apps import AppConfig


class ResultsConfig(AppConfig):
    """Results."""

    name = "webapp.results"
    label = "results"
