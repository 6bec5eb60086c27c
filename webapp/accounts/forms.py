"""Forms of the login and account pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

LIFETIMES = (("30", "30 days"), ("90", "90 days"), ("365", "1 year"), ("", "no end"))


class LoginForm(AuthenticationForm):
    """User name and password."""

    error_messages = {
        "invalid_login": "This user name and password do not belong together; check both and try again.",
        "inactive": "This account is switched off; ask an administrator to switch it on.",
    }


class TokenForm(forms.Form):
    """What a new API token is called and how long it lasts."""

    name = forms.CharField(
        max_length=100,
        label="Name",
        help_text="Where the token is used, for example: laptop, nightly sweep.",
        error_messages={"required": "The token has no name; give it one that says where it is used."},
    )
    days = forms.ChoiceField(
        choices=LIFETIMES, initial="90", required=False, label="Valid for", help_text="It stops working by itself after that."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autocomplete"] = "off"
