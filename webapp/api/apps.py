"""The app's name in Django."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Api."""

    name = "webapp.api"
    label = "api"
