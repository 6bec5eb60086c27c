"""What keeps the stack from starting, as one sentence."""

from __future__ import annotations


class StartError(Exception):
    """The stack cannot start; the message is one sentence with the remedy."""


class StopRequested(Exception):
    """Somebody asked the supervisor to stop."""
