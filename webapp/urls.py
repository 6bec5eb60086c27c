"""Every address of the site: each app's own list, and health for machines."""

from __future__ import annotations

from django.urls import include, path

from webapp.api import health

APPS = ("frontier", "gallery", "compare", "studies", "results", "jobs", "datasets", "detectors", "hardware", "artifacts", "accounts", "api")

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    *[path("", include(f"webapp.{app}.urls")) for app in APPS],
]
