"""Stored bytes of these tests lie in the test's own folder."""

from tests.own_folders import own_folders

__all__ = ["own_folders"]
