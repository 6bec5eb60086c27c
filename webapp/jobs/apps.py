"""The app's name in Django."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs."""

    name = "webapp.jobs"
    label = "jobs"
