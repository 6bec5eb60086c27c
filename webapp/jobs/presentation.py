"""What pages say of a job, in words. The live stream uses the same words, so a page reads alike before and after an update."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import FINAL
from webapp.templatetags.show import backend_title, model_title

KIND_TITLES = {
    "import": "Import",
    "import_model": "Model import",
    "train": "Training",
    "export": "Export",
    "evaluate": "Evaluation",
    "benchmark": "Latency measurement",
    "score": "Score",
    "probe": "Probe",
}
FAILURE_REMEDIES = {
    "user": "This is in what was submitted: correct it and submit again; a retry alone will fail the same way.",
    "resource": "The machine ran out of something: free it or choose less, then retry.",
    "system": "This is not in what was submitted: retry, and if it comes again look at the worker's log.",
}


def job_title(job: Job) -> str:
    """Name a job: its title with detector and backend as pages write them, or its kind where it has none."""
    parts = [backend_title(model_title(part)) for part in job.title.split(" · ")]
    return " · ".join(parts) or KIND_TITLES.get(job.kind, job.kind)


def progress_percent(progress: dict[str, Any]) -> float | None:
    """Return how far a job is, 0..100 with one decimal, None before its first word."""
    fraction = progress.get("fraction")
    return None if fraction is None else round(100 * float(fraction), 1)


def progress_words(progress: dict[str, Any]) -> str:
    """Say what a running job is doing now and how long it will take: `epoch 4 of 12, 41 images/s, about 3 min left`."""
    message = progress.get("message") or "starting"
    eta = progress.get("eta_s")
    return f"{message}, {about(eta)} left" if eta is not None else message


def about(seconds: float) -> str:
    """Round a duration to what an estimate can promise: `about 3 min`."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10) * 10} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {max(1, minutes)} min"
    return f"about {minutes // 60} h {minutes % 60} min" if minutes % 60 else f"about {minutes // 60} h"


def duration_seconds(job: Job) -> float | None:
    """Return how long a job has run, or ran, since its last start."""
    if job.started_at is None:
        return None
    end: datetime = job.finished_at if job.finished_at and job.state in FINAL else timezone.now()
    return max(0.0, (end - job.started_at).total_seconds())


@dataclass(frozen=True)
class ShownEvent:
    """A line of the events list."""

    seq: int
    at: datetime
    attempt: int
    kind: str
    words: str


def shown_event(event: JobEvent) -> ShownEvent:
    """Put an event into words."""
    return ShownEvent(
        seq=event.seq, at=event.created_at, attempt=event.attempt, kind=event.type, words=_event_words(event.type, event.data)
    )


def _event_words(kind: str, data: dict[str, Any]) -> str:
    if kind == "move":
        why = ": " + data["why"] if data.get("why") else ""
        return f"{data.get('to', '')}{why}" + (f", by {data['by']}" if data.get("by") else "")
    if kind == "metric":
        values = (data.get("values") or {}).items()
        return ", ".join([f"step {data.get('step')}", *(f"{name} {value:.4g}" for name, value in values if value is not None)])
    return str(data.get("message") or kind)


def proof_words(proof: dict[str, Any]) -> str:
    """Say how it was seen that a cancelled job's processes are gone: `3 processes gone after 0.7 s`."""
    parts = []
    if proof.get("processes_gone"):
        count, seconds = proof.get("processes"), proof.get("seconds")
        parts.append(f"{count} process{'es' if count != 1 else ''} gone" if count is not None else "all processes gone")
        if seconds is not None:
            parts[-1] += f" after {seconds:.1f} s"
    elif "processes_gone" in proof:
        parts.append("not seen whether its processes are gone")
    if proof.get("reason"):
        parts.append(str(proof["reason"]))
    return "; ".join(parts)
