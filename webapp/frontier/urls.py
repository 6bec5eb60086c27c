"""Addresses of the frontier."""

from django.urls import path

from webapp.frontier import views

urlpatterns = [path("", views.frontier_page, name="frontier")]
