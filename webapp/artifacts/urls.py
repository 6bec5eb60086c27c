"""Addresses of stored bytes."""

from django.urls import path

from webapp.artifacts import views

urlpatterns = [path("artifacts/<str:sha256>/<str:name>", views.artifact_download, name="artifact-download")]
