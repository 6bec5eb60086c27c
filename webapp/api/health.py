"""What machines ask: is the process up, can it serve, what are the counts."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from webapp.hardware.models import Worker
from webapp.hardware.selectors import living_since
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.results.models import Result


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process is up; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database answers and every migration is applied, else 503 with the reason."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Exception as error:  # whatever keeps the database away is the answer
        return JsonResponse({"ready": False, "reason": f"the database does not answer: {type(error).__name__}"}, status=503)
    if missing:
        return JsonResponse({"ready": False, "reason": f"{len(missing)} migrations are not applied; run manage.py migrate"}, status=503)
    return JsonResponse({"ready": True})


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with counts in the Prometheus text format, read from the database at this moment."""
    registry = CollectorRegistry()
    jobs = Gauge("paretobox_jobs", "Jobs by state", ["state"], registry=registry)
    counts = dict(Job.objects.values_list("state").annotate(n=Count("id")))
    for state in State:
        jobs.labels(state=state.value).set(counts.get(state.value, 0))
    Gauge("paretobox_results", "Stored results", registry=registry).set(Result.objects.count())
    living = Worker.objects.filter(heartbeat_at__gte=living_since(), stopped_at=None)
    Gauge("paretobox_workers_alive", "Workers with a fresh heartbeat", registry=registry).set(living.count())
    return HttpResponse(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")
