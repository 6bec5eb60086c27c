"""What the page of one job shows: the panel that changes with its state, and the record beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.urls import reverse

from webapp.datasets.edits import history_words
from webapp.datasets.models import DatasetVersion
from webapp.jobs.balance import loss_balance, of_a_level
from webapp.jobs.listing import JobRow, job_rows
from webapp.jobs.live import event_data
from webapp.jobs.models import Job, JobAttempt, JobEvent, JobOutput
from webapp.jobs.presentation import (
    FAILURE_REMEDIES,
    KIND_TITLES,
    about,
    duration_seconds,
    job_title,
    progress_percent,
    progress_words,
    proof_words,
    shown_event,
)
from webapp.jobs.selectors import estimate_seconds, log_text, why_waiting
from webapp.jobs.states import FINAL, FailureKind, State
from webapp.templatetags.show import backend_title, model_title

TAIL_LINES = 20
LOG_SHOWN = 100_000
EVENTS_SHOWN = 200
POINTS_SHOWN = 2000


@dataclass(frozen=True)
class Link:
    """Something a job made that has a page or a file; `main` where it is the next thing to do."""

    words: str
    url: str
    main: bool = False


def job_panel(job: Job) -> dict[str, Any]:
    """Return what changes when a job moves: state, what it does or why it does not, what can be done about it, what it made."""
    outputs = list(JobOutput.objects.filter(job=job).select_related("artifact").order_by("id"))
    attempts = _attempts(job)
    return {
        "job": job,
        "title": job_title(job),
        "kind": KIND_TITLES.get(job.kind, job.kind),
        "worker": job.worker or (attempts[0][0].worker if attempts else ""),
        "final": job.state in FINAL,
        "duration": duration_seconds(job),
        "attempts": attempts,
        "outputs": [output for output in outputs if output.role != "log"],
        "links": results_of(job, outputs),
        "can_cancel": job.state not in FINAL and job.state != State.CANCELLING,
        "can_retry": job.state in (State.FAILED, State.CANCELLED),
        **_now(job),
    }


def _now(job: Job) -> dict[str, Any]:
    """What stands at the top, by state."""
    if job.state in (State.RUNNING, State.CANCELLING):
        return {"percent": progress_percent(job.progress), "words": progress_words(job.progress)}
    if job.state in (State.QUEUED, State.WAITING):
        likely = estimate_seconds(job)
        return {"why": why_waiting(job), "likely": about(likely) if likely is not None else ""}
    if job.state == State.FAILED:
        lines = (job.log_tail or log_text(job)).splitlines()
        remedy = FAILURE_REMEDIES.get(job.failure_kind, "")
        return {
            "failure_kind": FailureKind(job.failure_kind).label if job.failure_kind else "",
            "remedy": remedy,
            "tail": "\n".join(lines[-TAIL_LINES:]),
        }
    return {"scored": job.result} if job.kind == "score" and job.state == State.SUCCEEDED else {}


def _attempts(job: Job) -> list[tuple[JobAttempt, str]]:
    return [(attempt, proof_words(attempt.cancel_proof or {})) for attempt in job.attempts.order_by("-number")]


def job_record(job: Job) -> dict[str, Any]:
    """Return what stays: what was asked, what it needs, events, curves and the log as far as it is known."""
    moves = JobEvent.objects.filter(job=job).exclude(type__in=("metric", "samples")).order_by("-seq")[:EVENTS_SHOWN]
    points = list(JobEvent.objects.filter(job=job, type="metric").order_by("-seq")[:POINTS_SHOWN])[::-1]
    log = log_text(job)
    return {
        "asked": _asked(job),
        "spec_text": json.dumps(job.spec, indent=2),
        "needs": _others(job.dependencies.values_list("needs_id", flat=True)),
        "dependents": _others(job.dependents.values_list("job_id", flat=True)),
        "events": [shown_event(event) for event in moves],
        "points": [event_data(point) for point in points],
        "point_rows": [_point_row(point) for point in points],
        "balance": loss_balance([point.data.get("values") or {} for point in points]),
        "log": log[-LOG_SHOWN:],
        "log_cut": len(log) > LOG_SHOWN,
        "samples": JobEvent.objects.filter(job=job, type="samples").exists(),
        "live": {"seq": job.event_seq, "attempt": job.attempt, "bytes": len(log.encode()), "final": job.state in FINAL},
    }


def _point_row(point: JobEvent) -> dict[str, Any]:
    """A point of the curves as a line of the table; what belongs to one level has a table of its own."""
    values = {name: value for name, value in (point.data.get("values") or {}).items() if not of_a_level(name)}
    return {"step": point.data.get("step"), "epoch": point.data.get("epoch"), "values": values}


def _others(ids: Any) -> list[JobRow]:
    return job_rows(list(Job.objects.filter(pk__in=set(ids)).order_by("id")))


def _asked(job: Job) -> list[tuple[str, str, str]]:
    """The spec in a few words: label, value, address."""
    spec = job.spec
    found = [("Detector", model_title(spec["model"]), reverse("model-detail", args=[spec["model"]]))] if spec.get("model") else []
    found += [("Backend", backend_title(spec["backend"]), "")] if spec.get("backend") else []
    for name, label in (("layout", "Layout"), ("name", "Name")):
        found += [(label, str(spec[name]).replace("_", " "), "")] if job.kind in ("import_model", "score") and spec.get(name) else []
    for name, label in (("file", "File"), ("predictions", "Results file"), ("ground_truth", "Ground truth")):
        found += [(label, str(spec[name].get("name") or "–"), "")] if isinstance(spec.get(name), dict) else []
    if isinstance(spec.get("dataset"), dict):
        found.append(("Data set", *_dataset_link(spec["dataset"])))
    found += [
        (label, str(spec[name]).replace("_", " "), "")
        for name, label in (("split", "Split"), ("scenario", "Scenario"), ("duration", "Duration"))
        if spec.get(name)
    ]
    if job.kind == "import":
        found += [("Changes", "; ".join(words), "") for words in history_words({"steps": [spec.get("edits") or {}]}) if words]
    recipe = spec.get("recipe") or {}
    if recipe.get("max_minutes"):
        found.append(("Training", f"at most {recipe['max_minutes']:g} min", ""))
    elif recipe.get("epochs"):
        found.append(("Training", f"{recipe['epochs']} epochs", ""))
    if "threads" in spec:
        found.append(("Threads", str(spec["threads"]), ""))
    return found


def _dataset_link(file: dict[str, Any]) -> tuple[str, str]:
    version = DatasetVersion.objects.filter(artifact_id=file["sha256"]).select_related("dataset").first() if file.get("sha256") else None
    if version is None:
        return str(file.get("name") or file.get("ref") or "").removesuffix(".tar") or "from the job it waits for", ""
    return str(version), _version_url(version)


def _version_link(version: DatasetVersion) -> Link:
    if version.frozen:
        return Link(f"Data set {version}", _version_url(version))
    return Link("Look at the preview and freeze it", _version_url(version), main=True)


def _version_url(version: DatasetVersion) -> str:
    return f"{reverse('dataset-detail', args=[version.dataset.uuid])}?version={version.uuid}"


def results_of(job: Job, outputs: list[JobOutput]) -> list[Link]:
    """Return links to what a job made: a data set version, checkpoints, a result."""
    if job.kind == "import_model":
        return _measure_links(outputs)
    # Results stand above jobs: they are reached through the relation, never imported.
    links = [_version_link(version) for version in _versions_made(job, outputs)]
    pair = None
    try:
        if job.kind == "benchmark":
            pair = job.latencymeasurement.pair
        elif job.kind == "evaluate":
            pair = job.evaluation.pairs.order_by("-complete", "-id").first()
    except ObjectDoesNotExist:
        pair = None
    if job.kind in ("evaluate", "score") and job.state == State.SUCCEEDED:
        links.append(Link("Accuracy in full", reverse("evaluation-detail", args=[job.uuid])))
    if pair is not None:
        links.append(
            Link("The result on the board" if pair.complete else "The result, not yet complete", reverse("result-detail", args=[pair.uuid]))
        )
    return links


def _measure_links(outputs: list[JobOutput]) -> list[Link]:
    made = next((output for output in outputs if output.role in ("exported_model", "checkpoint_best")), None)
    choices = (("Evaluate it", "evaluate"), ("Time it", "benchmark"))
    return [Link(words, f"{reverse('job-new')}?kind={kind}&artifact={made.artifact_id}") for words, kind in choices] if made else []


def _versions_made(job: Job, outputs: list[JobOutput]) -> list[DatasetVersion]:
    hashes = [output.artifact_id for output in outputs if output.role == "dataset"]
    if job.kind != "import" or not hashes:
        return []
    content = (job.result or {}).get("content_hash", "")
    return list(DatasetVersion.objects.filter(content_hash=content, dataset__name=job.spec.get("name", "")).select_related("dataset"))
