"""Writes about machines: workers report themselves, environments are recorded, hosts are taken alone. All times are the database's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from detection_core.schemas.results import Environment as EnvironmentRecord
from detection_core.schemas.results import ProbeResult
from webapp.hardware.models import Environment, HostLease, Worker

TITLE_LENGTH = 200
OFFLINE = ", offline"


@dataclass(frozen=True)
class Heartbeat:
    """What a worker learns when it reports itself: `known` is False where its row is gone or another process has taken its name."""

    known: bool
    draining: bool


def worker_register(
    *, name: str, host: str, boot_id: str, pid: int, lanes: Sequence[str], heavy_slots: int = 1, light_slots: int = 1, threads: int = 1
) -> Worker:
    """Write down a worker that starts; what an earlier process of the same name could run stays until the next probe."""
    fields: dict[str, Any] = {"host": host, "boot_id": boot_id, "pid": pid, "lanes": list(lanes), "threads": threads}
    fields |= {"heavy_slots": heavy_slots, "light_slots": light_slots, "load": {}, "draining": False, "stopped_at": None}
    times = {"started_at": Now(), "heartbeat_at": Now()}
    Worker.objects.update_or_create(name=name, defaults={**fields, **times})
    return Worker.objects.get(name=name)


def worker_heartbeat(*, name: str, pid: int, load: dict[str, Any]) -> Heartbeat:
    """Report that a worker lives, with its load and what it runs."""
    known = Worker.objects.filter(name=name, pid=pid).update(heartbeat_at=Now(), load=load, stopped_at=None)
    draining = bool(known) and Worker.objects.filter(name=name, draining=True).exists()
    return Heartbeat(known=bool(known), draining=draining)


@transaction.atomic
def worker_probed(*, name: str, pid: int, result: ProbeResult) -> None:
    """Record what a worker is and can run."""
    environment = environment_record(record=result.environment)
    Worker.objects.filter(name=name, pid=pid).update(capabilities=result.to_dict(), environment=environment)


def worker_stop(*, name: str, pid: int) -> None:
    """Write down that a worker ended by itself."""
    Worker.objects.filter(name=name, pid=pid).update(stopped_at=Now(), load={})


def worker_drain(*, name: str, draining: bool) -> bool:
    """Let a worker finish what it runs and take nothing new, or take jobs again. Returns whether there is such a worker."""
    return bool(Worker.objects.filter(name=name).update(draining=draining))


def environment_record(*, record: EnvironmentRecord, origin: str = "") -> Environment:
    """Return the row of a machine and its software; equal stable hashes are one row, which keeps the first record.

    `origin` names where a record came in from. Anybody can write a record, so such a one is never the row of a machine that was seen
    here: its hash covers the origin, and its title says that it is told.
    """
    title = (
        f"{record.device_name or record.cpu}, {record.cores} cores" if record.device == "cpu" else f"{record.device_name or record.device}"
    )
    if origin:
        title = title[: TITLE_LENGTH - len(OFFLINE)] + OFFLINE
    fields = {"title": title[:TITLE_LENGTH], "device": record.device[:20], "record": record.to_dict()}
    identity = json.dumps([record.stable_hash, origin])
    stable_hash = hashlib.sha256(identity.encode()).hexdigest() if origin else record.stable_hash
    environment, _ = Environment.objects.get_or_create(stable_hash=stable_hash, defaults=fields)
    return environment


@transaction.atomic
def host_lease_take(*, host: str, job: UUID, exclusive: bool) -> bool:
    """Let a job start on a host. Returns whether it may.

    One job alone, or several that share. A job that wants the host alone and does not get it yet keeps its place: from then on nobody
    else starts there, so that it comes to its turn. It has to ask again within a lease, or its place is free.
    """
    _lock(host)
    others = _live(host).exclude(job=job)
    if others.filter(exclusive=True).exists():
        return False
    if not exclusive or not others.exists():
        _write(host=host, job=job, exclusive=exclusive)
        return True
    _write(host=host, job=job, exclusive=True)
    return False


def host_lease_renew(*, host: str, job: UUID, exclusive: bool) -> None:
    """Keep a host for a running job, whatever the expiry was."""
    _write(host=host, job=job, exclusive=exclusive)


def host_lease_release(*, job: UUID) -> None:
    """Give up what a job holds of any host."""
    HostLease.objects.filter(job=job).delete()


def host_leases_sweep() -> int:
    """Remove leases that ended more than a minute ago, of workers that are gone."""
    return HostLease.objects.filter(expires_at__lt=Now() - timedelta(seconds=60)).delete()[0]


def _write(*, host: str, job: UUID, exclusive: bool) -> None:
    expires = Now() + timedelta(seconds=settings.LEASE_SECONDS)
    HostLease.objects.update_or_create(job=job, defaults={"host": host, "exclusive": exclusive, "expires_at": expires})


def _live(host: str) -> QuerySet[HostLease]:
    """Leases that count. After the database itself restarted all do, for one lease: their holders had no way to renew them."""
    leases = HostLease.objects.filter(host=host)
    return leases if database_restarted_lately() else leases.filter(expires_at__gt=Now())


def database_restarted_lately() -> bool:
    """Say whether the database server started less than a lease ago."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - pg_postmaster_start_time() < make_interval(secs => %s)", [settings.LEASE_SECONDS])
        return bool(cursor.fetchone()[0])


def _lock(host: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"host:{host}"])
