"""What every page shows of the queue."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from webapp.jobs.models import Job
from webapp.jobs.states import State


def queue_pulse(request: HttpRequest) -> dict[str, SimpleLazyObject]:
    """Give the top bar the numbers of running and of queued jobs; a page without the bar does not ask for them."""
    return {"pulse": SimpleLazyObject(_counts)}


def _counts() -> dict[str, int]:
    running = Q(state__in=[State.RUNNING, State.CANCELLING])
    waiting = Q(state__in=[State.QUEUED, State.WAITING])
    return Job.objects.filter(running | waiting).aggregate(running=Count("id", filter=running), queued=Count("id", filter=waiting))
