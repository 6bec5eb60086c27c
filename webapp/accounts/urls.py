"""Addresses of accounts."""

from django.urls import path

from webapp.accounts import views

urlpatterns = [
    path("login", views.login, name="login"),
    path("logout", views.logout, name="logout"),
    path("account", views.account, name="account"),
    path("account/tokens/<int:token_id>/revoke", views.token_delete, name="token-revoke"),
]
