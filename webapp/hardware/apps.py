"""The app's name in Django."""

from django.apps import AppConfig


class HardwareConfig(AppConfig):
    """Hardware."""

    name = "webapp.hardware"
    label = "hardware"
