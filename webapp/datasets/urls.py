"""Addresses of the data set pages. Importing and changing queue jobs, so /datasets/new and .../freeze belong to webapp.jobs."""

from django.urls import path

from webapp.datasets import views

urlpatterns = [
    path("datasets", views.dataset_list, name="dataset-list"),
    path("datasets/<uuid:uuid>", views.dataset_detail, name="dataset-detail"),
    path("datasets/<uuid:uuid>/export", views.dataset_export, name="dataset-export"),
    path("datasets/images/<uuid:version>/<int:number>", views.dataset_picture, name="dataset-picture"),
    path("datasets/images/<uuid:version>/<int:number>/file", views.dataset_image, name="dataset-image"),
]
