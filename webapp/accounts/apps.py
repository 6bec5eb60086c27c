"""The app's name in Django."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Accounts."""

    name = "webapp.accounts"
    label = "accounts"
