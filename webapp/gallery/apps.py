"""The app's name in Django."""

from django.apps import AppConfig


class GalleryConfig(AppConfig):
    """Evaluated images with what was found, missed and mistaken."""

    name = "webapp.gallery"
    label = "gallery"
