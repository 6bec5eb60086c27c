"""The app's name in Django."""

from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    """Datasets."""

    name = "webapp.datasets"
    label = "datasets"
