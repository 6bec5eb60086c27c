"""Addresses of the gallery pages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
