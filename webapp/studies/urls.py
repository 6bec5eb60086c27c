"""Addresses of the studies."""

from django.urls import path

from webapp.studies import views

urlpatterns = [
    path("studies", views.study_list, name="study-list"),
    path("studies/<slug:name>", views.study_detail, name="study-detail"),
    path("studies/<slug:name>/plan", views.study_plan_words, name="study-plan"),
]
