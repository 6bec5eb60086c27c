"""What a start does to the database and the files before the site serves: migrate, collect static files, first user, access.json.

Run as a child with the site's environment: `python -m deploy.local.first_run ACCESS_FILE`, with `--own-database` where the database belongs
to the installation.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploy.local.home import read_json, write_private

USER = "admin"
STATIC_PACKAGES = ("django", "plotly", "django-htmx")


def main(access: Path, *, own_database: bool) -> None:
    """Do all of it; what is done already costs next to nothing."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    collect_static()
    write_access(access, own_database=own_database)


def collect_static() -> None:
    """Collect static files if any of them, or a package that brings some, changed since the last time."""
    from django.conf import settings
    from django.core.management import call_command

    mark = Path(settings.STATIC_ROOT) / ".collected"
    wanted = _static_fingerprint([Path(folder) for folder in settings.STATICFILES_DIRS])
    if mark.exists() and mark.read_text() == wanted:
        return
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    mark.write_text(wanted)


def write_access(access: Path, *, own_database: bool) -> None:
    """Make sure that the first user exists and that access.json tells how to reach the site as that user.

    A password that its owner changed stays. A lost access.json is made anew with a new token, and in the installation's own database with a
    new password; in a database that others use too the password is left alone, and access.json holds none.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from webapp.accounts.services import token_create, token_user

    known = read_json(access)
    user = get_user_model().objects.filter(username=USER).first()
    password = known.get("password")
    if user is None:
        password = password or secrets.token_urlsafe(15)
        user = get_user_model().objects.create_superuser(username=USER, password=password)
    elif password is None and own_database:
        password = secrets.token_urlsafe(15)
        user.set_password(password)
        user.save()
    token = known.get("token")
    if not token or token_user(plain=token) is None:
        token = token_create(user=user, name="access.json")
    wanted = {"url": settings.SITE_URL, "user": USER, "password": password, "token": token}
    if wanted != known:
        write_private(access, json.dumps(wanted, indent=2) + "\n")


def _static_fingerprint(folders: list[Path]) -> str:
    digest = hashlib.sha256()
    for package in STATIC_PACKAGES:
        try:
            digest.update(f"{package} {version(package)}\n".encode())
        except PackageNotFoundError:
            continue
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            status = path.stat()
            digest.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), own_database="--own-database" in sys.argv[2:])
