"""Addresses of the frontier."""

from django.urls import path

from webapp.frontier import views

urlpatterns = [
    path("", views.frontier_page, name="frontier"),
    path("published", views.published_page, name="published"),
    path("models/<str:name>/claims", views.model_claims, name="model-claims"),
]
