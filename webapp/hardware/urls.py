"""Addresses of hardware."""

from django.urls import path

from webapp.hardware import views

urlpatterns = [
    path("hardware", views.hardware, name="hardware"),
    path("hardware/workers", views.hardware_workers, name="hardware-workers"),
]
