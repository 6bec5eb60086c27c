"""Workers' tests store bytes in their own folder."""

from tests.own_folders import own_folders

__all__ = ["own_folders"]
