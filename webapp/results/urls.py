"""Addresses of results."""

from django.urls import path

from webapp.results import bundle_views, views

urlpatterns = [
    path("leaderboard", views.leaderboard, name="leaderboard"),
    path("results/<uuid:uuid>", views.result_detail, name="result-detail"),
    path("evaluations/<uuid:job>", views.evaluation_detail, name="evaluation-detail"),
    path("models/<str:name>/results", views.model_results, name="model-results"),
    path("bundles/new", bundle_views.bundle_new, name="bundle-new"),
    path("checkpoints/<uuid:uuid>/download", views.checkpoint_download, name="checkpoint-download"),
]
