"""The hardware page: living workers, what they can run, and the machines that results are bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.hardware.models import Environment, HostLease, Worker
from webapp.hardware.selectors import lease_host, living_workers

NAMES = {"cpu": "CPU"}
UNITS = {"_percent": " %", "_gb": " GB"}


@dataclass(frozen=True)
class WorkerRow:
    """A worker as the page shows it; `state` is live, draining or lost."""

    worker: Worker
    state: str
    leases: list[HostLease]
    backends: list[dict[str, Any]]
    load: list[tuple[str, str]]


def hardware(request: HttpRequest) -> HttpResponse:
    """Show workers and machines; the workers' part refreshes itself."""
    machines = Environment.objects.annotate(measured=Count("results")).order_by("-measured", "title", "id")
    return render(request, "hardware/hardware.html", {"workers": _workers(), "machines": machines})


def hardware_workers(request: HttpRequest) -> HttpResponse:
    """Give the workers alone, for the page's own refresh."""
    return render(request, "hardware/workers.html", {"workers": _workers()})


def _workers() -> list[WorkerRow]:
    """Living workers by name, then those that fell silent without saying goodbye."""
    living = list(living_workers())
    silent = (
        Worker.objects.filter(stopped_at=None)
        .exclude(pk__in=[worker.pk for worker in living])
        .select_related("environment")
        .order_by("name")
    )
    leases = list(HostLease.objects.filter(expires_at__gt=Now()).order_by("id"))
    rows = [_row(worker, "draining" if worker.draining else "live", leases) for worker in living]
    return rows + [_row(worker, "lost", []) for worker in silent]


def _row(worker: Worker, state: str, leases: list[HostLease]) -> WorkerRow:
    host = lease_host(host=worker.host, boot_id=worker.boot_id)
    return WorkerRow(
        worker=worker,
        state=state,
        leases=[lease for lease in leases if lease.host == host],
        backends=worker.capabilities.get("backends", []),
        load=_load_facts(worker.load),
    )


def _load_facts(load: dict[str, Any]) -> list[tuple[str, str]]:
    """Put what a worker tells of its machine into words: `load_1` and `memory_used_gb` read `Load 1`, `Memory used, GB`."""
    facts = []
    for key, value in load.items():
        unit = next((shown for suffix, shown in UNITS.items() if key.endswith(suffix)), None)
        name = key.removesuffix("_percent").removesuffix("_gb").replace("_", " ")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        facts.append((NAMES.get(name, name.capitalize()), f"{value:g}{unit or ''}"))
    return facts
