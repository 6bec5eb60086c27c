"""Addresses of results."""

from django.urls import path

from webapp.results import views

urlpatterns = [
    path("leaderboard", views.leaderboard, name="leaderboard"),
    path("results/<uuid:uuid>", views.result_detail, name="result-detail"),
    path("models/<str:name>/results", views.model_results, name="model-results"),
    path("checkpoints/<uuid:uuid>/download", views.checkpoint_download, name="checkpoint-download"),
]
