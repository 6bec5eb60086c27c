"""System checks with ids: what would go wrong later is said at the start. `manage.py check --deploy --database default` runs them all."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError
from django.db.models.functions import Now

from webapp import env

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
SECRET_KEY_LENGTH = 40
FOLDER_STORAGE = "django.core.files.storage.FileSystemStorage"


@register(Tags.security)
def check_secret_key(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E001: a secret key that can be guessed."""
    if settings.DEBUG or len(settings.SECRET_KEY) >= SECRET_KEY_LENGTH:
        return []
    hint = "python -c 'import secrets; print(secrets.token_urlsafe(50))' makes one."
    return [Error(f"SECRET_KEY is shorter than {SECRET_KEY_LENGTH} characters.", hint=hint, id="paretobox.E001")]


@register(Tags.files)
def check_folders(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E002: a folder that the site writes to and cannot."""
    folders = {"UPLOAD_DIR": Path(settings.FILE_UPLOAD_TEMP_DIR)}
    if _folder_storage():
        folders["ARTIFACTS_DIR"] = Path(settings.ARTIFACTS_DIR)
    return [
        Error(f"{name} is {folder}, which cannot be written.", hint="Let the site's user write it.", id="paretobox.E002")
        for name, folder in folders.items()
        if not _writable(folder)
    ]


@register(Tags.files)
def check_upload_room(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W003: less room for uploads than one upload may take."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    if not folder.is_dir():
        return []
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize >= settings.UPLOAD_MAX_BYTES:
        return []
    hint = "Free some, move UPLOAD_DIR to a larger disk, or lower UPLOAD_MAX_BYTES."
    return [Warning(f"The disk of {folder} has less room than one upload may take.", hint=hint, id="paretobox.W003")]


@register(Tags.security, deploy=True)
def check_https(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W004: passwords and tokens in clear over a network."""
    if settings.HTTPS or urlsplit(settings.SITE_URL).hostname in LOOPBACK:
        return []
    hint = "Put a proxy that speaks TLS in front and set HTTPS=1 (deploy/README.md)."
    return [Warning(f"The site is reached at {settings.SITE_URL} without HTTPS.", hint=hint, id="paretobox.W004")]


@register(Tags.security, deploy=True)
def check_site_url(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E005 and E006: an address that the site itself refuses, and a site that answers to any."""
    host = urlsplit(settings.SITE_URL).hostname or ""
    if "*" in settings.ALLOWED_HOSTS:
        return [Error("ALLOWED_HOSTS accepts every host name.", hint="List the names the site is reached by.", id="paretobox.E006")]
    if host in LOOPBACK or host in settings.ALLOWED_HOSTS:
        return []
    return [Error(f"SITE_URL names {host}, which ALLOWED_HOSTS does not list.", hint=f"Add {host} to ALLOWED_HOSTS.", id="paretobox.E005")]


@register(Tags.database)
def check_storage_is_shared(app_configs: Any = None, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E007: folder storage with a worker on another host, which would find no input and store what nobody else can read."""
    if not databases or not _folder_storage():
        return []
    hosts = _hosts_of_living_workers() - {socket.gethostname()}
    if not hosts:
        return []
    message = f"Files are stored in a folder of this host, but workers run on {', '.join(sorted(hosts))} too."
    return [Error(message, hint="Store files in S3 (S3_BUCKET, S3_ENDPOINT), or run those workers here.", id="paretobox.E007")]


def _folder_storage() -> bool:
    storages: Any = settings.STORAGES
    return bool(storages["default"]["BACKEND"] == FOLDER_STORAGE)


def _hosts_of_living_workers() -> set[str]:
    """Without those in other containers of this machine (compose.yaml): their folder is one volume."""
    since = Now() - timedelta(seconds=3 * settings.LEASE_SECONDS)
    try:
        workers = apps.get_model("hardware", "Worker").objects.filter(stopped_at=None, heartbeat_at__gte=since)
        workers = workers.exclude(boot_id=env.running_kernel() or None)
        return set(workers.values_list("host", flat=True))
    except DatabaseError:  # before the first migration there are no workers
        return set()


def _writable(folder: Path) -> bool:
    """Tell whether a folder can be written, or made below the nearest one that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
