"""Addresses of the gallery pages."""

from django.urls import path, register_converter

from webapp.gallery import views


class ImageNumber:
    """The id of an image: its number in the data set, or what a ground truth file calls it, which may be below zero."""

    regex = "-?[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        """Read the number."""
        return int(value)

    def to_url(self, value: int) -> str:
        """Write the number."""
        return str(value)


register_converter(ImageNumber, "image")

urlpatterns = [
    path("jobs/<uuid:uuid>/samples", views.gallery_samples, name="gallery-samples"),
    path("evaluations/<uuid:uuid>/images", views.gallery_images, name="gallery-images"),
    path("evaluations/<uuid:uuid>/images/<image:number>", views.gallery_image, name="gallery-image"),
    path("evaluations/<uuid:uuid>/suspects", views.gallery_suspects, name="gallery-suspects"),
    path("evaluations/<uuid:uuid>/differences", views.gallery_others, name="gallery-others"),
    path("evaluations/<uuid:uuid>/differences/<uuid:other>", views.gallery_differences, name="gallery-differences"),
]
