"""Addresses of the catalogue."""

from django.urls import path

from webapp.detectors import views

urlpatterns = [
    path("models", views.model_list, name="model-list"),
    path("models/<str:name>", views.model_detail, name="model-detail"),
]
