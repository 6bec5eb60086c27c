"""The app's name in Django."""

from django.apps import AppConfig


class StudiesConfig(AppConfig):
    """Questions of papers, asked again here: queued as one suite, read on one page."""

    name = "webapp.studies"
    label = "studies"
