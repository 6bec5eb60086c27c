"""From rows to what the API answers with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse

from webapp.api.schemas import (
    CheckpointOut,
    ComparisonOut,
    DatasetDetailOut,
    DatasetOut,
    DatasetVersionDetailOut,
    DatasetVersionOut,
    JobOut,
    ResultOut,
    SuiteOut,
)
from webapp.compare.selectors import Verdict
from webapp.datasets.edits import shortened
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import Job, Suite
from webapp.results.models import Checkpoint, Result
from webapp.results.presentation import checkpoint_filename, score_thresh


def address(name: str, *args: Any) -> str:
    """Return the full address of a page."""
    return settings.SITE_URL.rstrip("/") + reverse(name, args=args)


def job_out(job: Job, *, waiting_because: str = "") -> JobOut:
    """Present a job; `suite` must be loaded."""
    return JobOut(
        uuid=job.uuid,
        kind=job.kind,
        title=job.title,
        state=job.state,
        lane=job.lane,
        suite=job.suite.uuid if job.suite else None,
        attempt=job.attempt,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        progress=job.progress,
        failure_kind=job.failure_kind,
        failure_message=job.failure_message,
        log_tail=job.log_tail,
        worker=job.worker,
        event_seq=job.event_seq,
        resumable=bool(job.resume_sha256),
        origin=job.origin,
        waiting_because=waiting_because,
        url=address("job-detail", job.uuid),
    )


def suite_out(suite: Suite) -> SuiteOut:
    """Present a suite with its jobs in the order they were submitted."""
    rows = suite.jobs.select_related("suite").order_by("id")
    return SuiteOut(
        uuid=suite.uuid,
        name=suite.name,
        created_at=suite.created_at,
        jobs=[job_out(row) for row in rows],
        url=address("suite-detail", suite.uuid),
    )


def result_out(row: Result) -> ResultOut:
    """Present a row of the board; its relations must be loaded."""
    return ResultOut(
        uuid=row.uuid,
        model=row.model,
        family=row.family,
        stages=row.stages,
        backend=row.backend,
        dtype=row.dtype,
        input_size=row.input_size,
        dataset=str(row.dataset_version),
        dataset_version=row.dataset_version.uuid,
        split=row.split,
        environment=row.environment.title,
        threads=row.threads,
        scenario=row.scenario,
        duration=row.duration,
        score_thresh=score_thresh(row),
        ap=row.ap,
        ap_low=row.ap_low,
        ap_high=row.ap_high,
        ap50=row.ap50,
        ap75=row.ap75,
        ap_small=row.ap_small,
        small_recall=row.small_recall,
        ar_100=row.ar_100,
        p50_ms=row.p50_ms,
        p95_ms=row.p95_ms,
        fps=row.fps,
        params_m=row.params_m,
        macs_g=row.macs_g,
        size_bytes=row.size_bytes,
        licence=row.licence,
        flags=row.flags,
        complete=row.complete,
        selection_split=row.selection_split,
        on_front=row.on_front,
        origin=row.origin,
        group=row.group_key,
        suite=row.suite_uuid,
        checkpoint=row.checkpoint.uuid if row.checkpoint else None,
        created_at=row.created_at,
        url=address("result-detail", row.uuid),
    )


def dataset_out(dataset: Dataset) -> DatasetOut:
    """Present a data set; its versions must be prefetched."""
    versions = sorted(dataset.versions.all(), key=lambda version: -version.number)
    return DatasetOut(**_dataset_fields(dataset), versions=[version_out(version) for version in versions])


def dataset_detail_out(dataset: Dataset) -> DatasetDetailOut:
    """Present a data set with all that its imports found; its versions must be prefetched."""
    versions = sorted(dataset.versions.all(), key=lambda version: -version.number)
    shown = [
        DatasetVersionDetailOut(**version_out(version).dict(), report=version.report, statistics=version.statistics, leaks=version.leaks)
        for version in versions
    ]
    return DatasetDetailOut(**_dataset_fields(dataset), versions=shown)


def version_out(version: DatasetVersion) -> DatasetVersionOut:
    """Present a version of a data set."""
    return DatasetVersionOut(
        uuid=version.uuid,
        number=version.number,
        frozen=version.frozen,
        content_hash=version.content_hash,
        artifact_sha256=version.artifact_id,
        classes=version.classes,
        splits=version.splits,
        problems=version.report.get("counts", {}),
        edits=shortened(version.edits),
        created_at=version.created_at,
    )


def _dataset_fields(dataset: Dataset) -> dict[str, Any]:
    fields = {name: getattr(dataset, name) for name in ("uuid", "name", "licence", "source")}
    return {**fields, "url": address("dataset-detail", dataset.uuid)}


def comparison_out(verdict: Verdict) -> ComparisonOut:
    """Present a paired comparison; `p` is the corrected one, which decides."""
    found, winner = verdict.found, verdict.winner
    return ComparisonOut(
        first=verdict.first.uuid,
        second=verdict.second.uuid,
        difference=found.difference if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=verdict.p_holm,
        winner=winner.uuid if winner else None,
        obstacle=verdict.obstacle,
    )


def checkpoint_out(row: Checkpoint) -> CheckpointOut:
    """Present a checkpoint; its relations must be loaded."""
    return CheckpointOut(
        uuid=row.uuid,
        role=row.role,
        model=row.model,
        family=row.family,
        dataset=str(row.dataset_version) if row.dataset_version else None,
        metrics=row.metrics,
        epoch=row.epoch,
        licence=row.licence,
        sha256=row.artifact_id,
        size=row.artifact.size,
        name=checkpoint_filename(row),
        job=row.job.uuid,
        download=address("checkpoint-download", row.uuid),
    )
