"""Reads about machines: which workers live, and what they can run."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from webapp.hardware.models import HostLease, Worker


def living_since() -> datetime:
    """Return the moment, by the database's clock, since which a living worker has reported itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        return cursor.fetchone()[0] - timedelta(seconds=settings.LEASE_SECONDS)


def living_workers() -> QuerySet[Worker]:
    """Return the workers that reported themselves within a lease and did not say goodbye, by name."""
    fresh = Now() - timedelta(seconds=settings.LEASE_SECONDS)
    return Worker.objects.filter(heartbeat_at__gt=fresh, stopped_at=None).select_related("environment").order_by("name")


def workers_of_lane(lane: str) -> list[Worker]:
    """Return the living workers that take new jobs from a lane."""
    return [worker for worker in living_workers() if lane in worker.lanes and not worker.draining]


def lanes_served() -> list[str]:
    """Return the lanes that a living worker serves, sorted."""
    return sorted({lane for worker in living_workers() if not worker.draining for lane in worker.lanes})


def lease_host(*, host: str, boot_id: str) -> str:
    """Name the machine that measurements share: its running kernel, so that containers on one machine count as one."""
    return boot_id or host


def host_alone(host: str) -> HostLease | None:
    """Return the live lease by which one job has this host alone, if there is one."""
    return HostLease.objects.filter(host=host, exclusive=True, expires_at__gt=Now()).first()


def former_worker(name: str) -> Worker | None:
    """Return what is known of a worker's last process."""
    return Worker.objects.filter(name=name).first()


def name_taken(*, name: str, host: str, boot_id: str) -> bool:
    """Say whether a living worker on another machine has this name."""
    return living_workers().filter(name=name).exclude(host=host, boot_id=boot_id).exists()
