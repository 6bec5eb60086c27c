"""Reads of jobs: one, many, where it stands in the line, why it waits, what it said."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from detection_core.schemas.results import BackendAbility
from detection_core.schemas.specs import JobSpec
from webapp.hardware.models import Worker
from webapp.hardware.selectors import host_alone, lanes_served, lease_host, living_workers, workers_of_lane
from webapp.jobs.models import Job, JobEvent, JobLog
from webapp.jobs.states import FINAL, TAKES_HOST_ALONE, State

__all__ = ["lanes_served", "living_workers"]

PAST_JOBS = 20


@dataclass(frozen=True)
class JobPage:
    """A page of a list of jobs, the newest first."""

    jobs: list[Job]
    total: int
    page: int
    pages: int


def job_get(uuid: UUID | str) -> Job | None:
    """Return a job by its id, or None."""
    return Job.objects.select_related("suite", "created_by").filter(uuid=uuid).first()


def job_list(
    *,
    state: str | None = None,
    kind: str | None = None,
    suite: UUID | str | None = None,
    search: str = "",
    page: int = 1,
    per_page: int = 50,
) -> JobPage:
    """Return a page of jobs, the newest first; a page out of range is the nearest one.

    `search` looks into titles, kinds, models, suites and ids; every word has to be found.
    """
    query = Job.objects.select_related("suite", "created_by")
    for name, value in (("state", state), ("kind", kind), ("suite__uuid", suite)):
        query = query.filter(**{name: value}) if value else query
    for word in search.replace("\x00", "").split():
        found = Q(title__icontains=word) | Q(kind__iexact=word) | Q(spec__model__icontains=word) | Q(suite__name__icontains=word)
        query = query.filter(found | Q(uuid=word) if _is_uuid(word) else found)
    total = query.count()
    pages = max(1, -(-total // per_page))
    page = min(max(1, page), pages)
    return JobPage(list(query.order_by("-id")[(page - 1) * per_page : page * per_page]), total, page, pages)


def queue_position(job: Job) -> int | None:
    """Return the place of a queued job in its lane's line (1 is next), or None where it does not stand in one."""
    return _before(job).count() + 1 if job.state == State.QUEUED else None


def why_waiting(job: Job) -> str:
    """Say in a sentence why a job has not started yet; empty where it does not wait."""
    if job.state == State.WAITING:
        return _waits_for(job)
    if job.state != State.QUEUED:
        return ""
    workers = workers_of_lane(job.lane)
    if not workers:
        return no_worker(job.lane)
    if (backend := job.spec.get("backend")) and (reason := _no_backend(workers, job.lane, backend, job.spec.get("device", "cpu"))):
        return reason
    ahead = _before(job).count()
    if ahead:
        return f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before it in lane {job.lane}."
    return _next_in_line(job, workers)


def estimate_seconds(job: Job) -> float | None:
    """Return how long a job is likely to run, from the last ones of its kind (a training: of its model) in its lane; None without any.

    A training that its epochs end is judged, epoch by epoch, by those that their epochs ended.
    """
    past = Job.objects.filter(kind=job.kind, lane=job.lane, state=State.SUCCEEDED, started_at__isnull=False, finished_at__isnull=False)
    for name in ("model", "duration", "backend"):
        if name in job.spec:
            past = past.filter(**{f"spec__{name}": job.spec[name]})
    recipe = job.spec.get("recipe") or {}
    limit = recipe.get("max_minutes")
    epochs = None if limit else recipe.get("epochs")
    if epochs:
        past = past.filter(spec__recipe__max_minutes=None, spec__recipe__epochs__gte=1)
    times = past.order_by("-finished_at").values_list("started_at", "finished_at", "spec__recipe__epochs")[:PAST_JOBS]
    seconds = [(ended - started).total_seconds() * (epochs / done if epochs else 1) for started, ended, done in times if started and ended]
    if not seconds:
        return limit * 60 if limit else None
    typical = statistics.median(seconds)
    return min(typical, limit * 60) if limit else typical


def events_after(job: Job, seq: int, limit: int = 200) -> list[JobEvent]:
    """Return the events of a job that follow the one numbered `seq`."""
    return list(JobEvent.objects.filter(job=job, seq__gt=seq).order_by("seq")[:limit])


def log_text(job: Job, attempt: int | None = None, offset: int = 0) -> str:
    """Return the log of an attempt (the last one by default) from byte `offset` (of its UTF-8) on, as far as it is known."""
    pieces = JobLog.objects.filter(job=job, attempt=job.attempt if attempt is None else attempt).order_by("offset")
    first = pieces.filter(offset__lte=offset).order_by("-offset").values_list("offset", flat=True).first() or 0
    text = "".join(pieces.filter(offset__gte=first).values_list("text", flat=True))
    return text.encode()[offset - first :].decode(errors="ignore")


def lane_threads(lane: str) -> int:
    """Return how many threads the weakest living worker of a lane gives a job; 1 where none lives."""
    return min((worker.threads for worker in workers_of_lane(lane)), default=1)


def what_cannot_run(spec: JobSpec, lane: str) -> str | None:
    """Say in a sentence why no living worker of a lane can run this spec, or None where one can (or may)."""
    workers = workers_of_lane(lane)
    if not workers:
        return no_worker(lane)
    most = max(worker.threads for worker in workers)
    threads = getattr(spec, "threads", 1)
    if threads > most:
        return f"The job asks for {threads} threads and the workers of lane {lane} have at most {most}; ask for {most} or fewer."
    device = getattr(spec, "device", "cpu").split(":")[0]
    if backend := getattr(spec, "backend", None):
        return _no_backend(workers, lane, backend, device)
    if device != "cpu" and not any(_may_use(worker, device) for worker in workers):
        return f"No worker of lane {lane} has a {device} device; choose the device cpu or another lane."
    return None


def no_worker(lane: str) -> str:
    """Say that nobody serves a lane, and who does serve."""
    served = lanes_served()
    remedy = f"start one, or choose lane {' or '.join(served)}" if served else "start one (make up starts a worker of lane cpu)"
    return f"No living worker serves lane {lane}; {remedy}."


def _before(job: Job) -> QuerySet[Job]:
    earlier = Q(priority__gt=job.priority) | Q(priority=job.priority, pk__lt=job.pk)
    return Job.objects.filter(earlier, state=State.QUEUED, lane=job.lane, slot=job.slot)


def _waits_for(job: Job) -> str:
    needed = [need.needs for need in job.dependencies.select_related("needs").order_by("needs_id")]
    open_ = list(
        dict.fromkeys(f"{row.kind} {row.title or row.uuid} ({row.get_state_display().lower()})" for row in needed if row.state not in FINAL)
    )
    return f"It waits for {' and '.join(open_)}." if open_ else "All it waited for is done; it is about to be queued."


def _next_in_line(job: Job, workers: list[Worker]) -> str:
    hosts = {lease_host(host=worker.host, boot_id=worker.boot_id) for worker in workers}
    if all((lease := host_alone(host)) is not None and lease.job != job.uuid for host in hosts):
        return "A latency measurement has the machine to itself; this job is next."
    if job.kind in TAKES_HOST_ALONE and any(worker.load.get("running") for worker in workers):
        return "It measures latency and starts once nothing else runs on the machine; nothing new starts before it."
    if any(worker.load.get("running") for worker in workers):
        return "It is next; the worker is busy with another job."
    return "It is next; a worker takes it within seconds."


def _no_backend(workers: list[Worker], lane: str, backend: str, device: str) -> str | None:
    reasons = []
    for worker in workers:
        ability = _ability(worker, backend)
        if ability is None or (ability.reason is None and device.split(":")[0] in {name.split(":")[0] for name in ability.devices}):
            return None
        reasons.append(ability.reason or f"it runs on {', '.join(ability.devices) or 'no device'} there, not on {device}")
    return f"No worker of lane {lane} can run the backend {backend}: {reasons[0]}; choose another backend or lane."


def _ability(worker: Worker, backend: str) -> BackendAbility | None:
    """What a worker said of a backend; None where it has not said anything yet."""
    if not worker.capabilities.get("backends"):
        return None
    said = {entry["name"]: entry for entry in worker.capabilities["backends"]}
    missing = {"name": backend, "devices": [], "formats": [], "reason": "it is not installed there"}
    return BackendAbility.parse(said.get(backend, missing))


def _may_use(worker: Worker, device: str) -> bool:
    backends = worker.capabilities.get("backends")
    return not backends or any(name.split(":")[0] == device for entry in backends for name in entry["devices"])


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
