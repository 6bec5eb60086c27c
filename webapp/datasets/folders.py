"""Folders on the server that an administrator opened for import: DATA_FOLDERS and what lies below them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from detection_core.schemas.base import InvalidInput
from webapp.accounts.models import User

MOST_LISTED = 200
ONLY_STAFF = "folders on the server are imported by an administrator (a staff user); upload an archive instead, or ask one of them"


def folder_for(ref: str, user: User | None) -> Path:
    """Return the folder that `ref`, an absolute path, names, if `user` may import it.

    Raises:
        InvalidInput: the user is no administrator, or `folder_checked` refuses the path.
    """
    if user is None or not user.is_staff:
        raise InvalidInput(ONLY_STAFF)
    return folder_checked(ref)


def folder_checked(ref: str) -> Path:
    """Return the real path of a folder below one of DATA_FOLDERS.

    Raises:
        InvalidInput: it is not below one of them once links and `..` are followed, or it is not there.
    """
    if ":names=" in ref:  # whoever reads it cuts this off, and would read another folder than the one that was checked
        raise InvalidInput(f"'{ref}' names classes behind the folder; give the folder alone, and the names as the class names")
    if not settings.DATA_FOLDERS:
        raise InvalidInput("no folder of the server may be imported; set DATA_FOLDERS (docs/install.md), or upload an archive")
    roots = [root.resolve() for root in settings.DATA_FOLDERS]
    path = Path(ref.replace("\x00", "")).resolve()
    if not any(path.is_relative_to(root) for root in roots):
        raise InvalidInput(f"'{ref}' does not lie below {_either(settings.DATA_FOLDERS)}; choose a folder there")
    if not path.is_dir():
        raise InvalidInput(f"there is no folder '{ref}'; correct the path, or mount it on the site and the workers alike")
    return path


def folders_offered() -> list[str]:
    """Return the opened folders and those directly below them, at most MOST_LISTED."""
    return [str(path) for path, _ in zip(_offered(), range(MOST_LISTED), strict=False)]


def _offered() -> Iterator[Path]:
    for root in settings.DATA_FOLDERS:
        if root.is_dir():
            yield root
            with os.scandir(root) as entries:
                yield from sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != ".")


def _either(paths: list[Path]) -> str:
    return " or ".join(f"'{path}'" for path in paths)
