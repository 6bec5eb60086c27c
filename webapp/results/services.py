"""Writes of results: what a finished job found becomes rows, pairs are made, fronts are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import connection, transaction

from detection_core.frontier import pareto_front
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import (
    BenchmarkResult,
    EvaluateResult,
    ExportResult,
    ImportModelResult,
    ImportResult,
    JobResult,
    ProbeResult,
    TrainResult,
)
from webapp.artifacts.models import Artifact
from webapp.datasets.models import DatasetVersion
from webapp.datasets.services import dataset_describe, dataset_version_record
from webapp.hardware.services import environment_record
from webapp.jobs.models import Job
from webapp.results.comparable import accuracy_flags
from webapp.results.models import Checkpoint, Evaluation, ExportedModel, LatencyMeasurement, Result

Outputs = Mapping[str, Artifact]


@transaction.atomic
def job_record(*, job: Job, result: JobResult, outputs: Outputs) -> None:
    """Turn what `job` found into rows. Called once, in the transaction that ends the job."""
    writers: dict[str, Callable[..., None]] = {
        "import": _record_import,
        "import_model": _record_imported_model,
        "train": _record_training,
        "export": _record_export,
        "evaluate": _record_evaluation,
        "benchmark": _record_latency,
        "probe": _record_probe,
    }
    if writer := writers.get(result.kind):
        writer(job, result, outputs)


def _record_import(job: Job, result: ImportResult, outputs: Outputs) -> None:
    made_from = (job.spec.get("source") or {}).get("sha256")
    dataset_version_record(result=result, artifact=outputs["dataset"], user=job.created_by, made_from=made_from)
    told = {"licence": job.spec.get("licence") or "", "source": job.spec.get("origin") or ""}
    dataset_describe(name=result.name, user=job.created_by, **told)


def _record_probe(job: Job, result: ProbeResult, outputs: Outputs) -> None:
    environment_record(record=result.environment)


def _record_training(job: Job, result: TrainResult, outputs: Outputs) -> None:
    environment_record(record=result.environment, origin=job.origin)
    version = _dataset_version(result.dataset_sha256)
    for role, found in (("best", result.best), ("last", result.last)):
        artifact = outputs[f"checkpoint_{role}"]
        checkpoint = Checkpoint.objects.create(
            job=job,
            role=role,
            artifact=artifact,
            model=result.manifest.model,
            family=result.manifest.family,
            dataset_version=version,
            recipe=result.recipe.to_dict(),
            metrics=found.metrics.to_dict() if found.metrics else None,
            licence=result.manifest.licence,
            epoch=found.epoch,
        )
        _exported_model(artifact, result.manifest, checkpoint, difference=0.0)


def _record_export(job: Job, result: ExportResult, outputs: Outputs) -> None:
    parent = Checkpoint.objects.filter(artifact_id=result.manifest.parent_sha256).order_by("id").first()
    _exported_model(outputs["exported_model"], result.manifest, parent, difference=result.max_abs_difference)


def _record_imported_model(job: Job, result: ImportModelResult, outputs: Outputs) -> None:
    """A model file from elsewhere; weights that can be trained further are a checkpoint besides, with no training behind them."""
    environment_record(record=result.environment)
    manifest, checkpoint = result.manifest, None
    artifact = next(outputs[role] for role in ("exported_model", "checkpoint_best") if role in outputs)
    if manifest.format == "safetensors":
        checkpoint = Checkpoint.objects.create(
            job=job,
            role="best",
            artifact=artifact,
            model=manifest.model,
            family=manifest.family,
            dataset_version=None,
            recipe={},
            metrics=None,
            licence=manifest.licence,
            epoch=0.0,
        )
    _exported_model(artifact, manifest, checkpoint, difference=None)


def _exported_model(artifact: Artifact, manifest: Manifest, checkpoint: Checkpoint | None, *, difference: float | None) -> ExportedModel:
    exported, _ = ExportedModel.objects.get_or_create(
        artifact=artifact,
        defaults={
            "checkpoint": checkpoint,
            "model": manifest.model,
            "family": manifest.family,
            "format": manifest.format,
            "dtype": manifest.dtype,
            "manifest": manifest.to_dict(),
            "max_abs_difference": difference,
        },
    )
    return exported


def _measured_model(sha256: str, manifest: Manifest) -> ExportedModel:
    """Return the measured file, its row held to the end of the transaction: of two measurements that end at once one sees the other.

    Raises:
        InvalidInput: the measurement tells of another model than the file is known for.
    """
    exported = _exported_model(Artifact.objects.get(sha256=sha256), manifest, None, difference=None)
    if Manifest.parse(exported.manifest) != manifest:
        raise InvalidInput(
            f"the measurement tells another manifest than the one that {exported} ({sha256[:12]}…) is stored with; "
            "measure the stored file itself"
        )
    return ExportedModel.objects.select_for_update(no_key=True).get(pk=exported.pk)


def _dataset_version(content_hash: str | None) -> DatasetVersion | None:
    return DatasetVersion.objects.filter(content_hash=content_hash).order_by("-frozen", "-id").first() if content_hash else None


def _measured_version(job: Job, content_hash: str) -> DatasetVersion:
    """Return the version whose stored file the job read; where two data sets hold the same content, not the other one."""
    known = DatasetVersion.objects.filter(content_hash=content_hash).order_by("-frozen", "-id")
    return known.filter(artifact_id=job.spec.get("dataset", {}).get("sha256")).first() or known[0]


def _conditions(job: Job, result: EvaluateResult | BenchmarkResult) -> dict[str, Any]:
    return {
        "job": job,
        "exported_model": _measured_model(result.artifact_sha256, result.manifest),
        "backend": result.backend,
        "dataset_version": _measured_version(job, result.dataset_sha256),
        "split": result.split,
        "environment": environment_record(record=result.environment, origin=job.origin),
        "protocol": result.protocol,
        "result": result.to_dict(),
    }


def _record_evaluation(job: Job, result: EvaluateResult, outputs: Outputs) -> None:
    evaluation = Evaluation.objects.create(
        **_conditions(job, result),
        threads=job.spec.get("threads", 1),
        ap=result.metrics.ap,
        ap50=result.metrics.ap50,
        detections=outputs.get("detections"),
    )
    timed = Result.objects.filter(**_pair_key(evaluation), latency__isnull=False).select_related("latency__job", "evaluation__job")
    paired = [row for row in timed if _may_pair(evaluation, row.latency) and _takes_place(evaluation, row)]
    replaced = {row.evaluation for row in paired if row.evaluation is not None}
    groups = set() if paired else _result_write(Result(), evaluation, None)
    for row in paired:
        groups |= _result_write(row, evaluation, row.latency)
    for former in replaced:
        if not former.pairs.exists():
            groups |= _result_write(Result(), former, None)
    _fronts_refresh(groups)


def _record_latency(job: Job, result: BenchmarkResult, outputs: Outputs) -> None:
    latency = LatencyMeasurement.objects.create(
        **_conditions(job, result),
        threads=result.threads,
        scenario=result.scenario,
        duration=result.duration,
        batch=result.batch,
        p50_ms=result.latency_ms.p50,
        p95_ms=result.latency_ms.p95,
        mean_ms=result.latency_ms.mean,
        fps=result.fps,
        flags=list(result.flags),
        samples=outputs.get("samples"),
    )
    newest = Evaluation.objects.filter(**_pair_key(latency)).select_related("job").order_by("-id")
    # What came in as a bundle, and then a carried AP, only where there is no own.
    candidates = sorted(newest, key=lambda found: (found.job.origin != job.origin, found.environment_id != latency.environment_id))
    evaluation = next((found for found in candidates if _may_pair(found, latency)), None)
    alone = Result.objects.filter(evaluation=evaluation, latency=None).first() if evaluation else None
    _fronts_refresh(_result_write(alone or Result(), evaluation, latency))


def _pair_key(measurement: Evaluation | LatencyMeasurement) -> dict[str, Any]:
    return {
        "exported_model": measurement.exported_model,
        "backend": measurement.backend,
        "dataset_version__content_hash": measurement.dataset_version.content_hash,
        "split": measurement.split,
    }


def _may_pair(evaluation: Evaluation, latency: LatencyMeasurement | None) -> bool:
    """Say whether the two were taken under one protocol. AP of fp32 may be carried to another machine; of other dtypes not."""
    if latency is None or evaluation.protocol.get("score_thresh") != latency.protocol.get("score_thresh"):
        return False
    return evaluation.exported_model.dtype == "fp32" or evaluation.environment_id == latency.environment_id


def _takes_place(evaluation: Evaluation, row: Result) -> bool:
    """Say whether an evaluation belongs into the row of a measurement: there is none yet, or only one that came from elsewhere than the
    measurement, as this one does not. A newer one of the same origin changes nothing."""
    assert row.latency is not None
    ours = row.latency.job.origin
    return row.evaluation is None or (row.evaluation.job.origin != ours and evaluation.job.origin == ours)


def _result_write(row: Result, evaluation: Evaluation | None, latency: LatencyMeasurement | None) -> set[str]:
    """Write a pair, or one of the two alone. Returns the groups whose fronts that may change."""
    former = {row.group_key} - {""}
    known = latency or evaluation
    assert known is not None
    exported = known.exported_model
    manifest = exported.manifest
    metrics = evaluation.result["metrics"] if evaluation else {}
    row.evaluation, row.latency, row.exported_model, row.checkpoint = evaluation, latency, exported, exported.checkpoint
    row.dataset_version, row.environment = known.dataset_version, known.environment
    row.suite_uuid = known.job.suite.uuid if known.job.suite else None
    row.model, row.family, row.stages, row.backend, row.dtype = (
        exported.model,
        exported.family,
        manifest["stages"],
        known.backend,
        exported.dtype,
    )
    row.split, row.threads, row.licence = known.split, known.threads, manifest["licence"]
    row.scenario, row.duration = (latency.scenario, latency.duration) if latency else ("", "")
    row.input_size = max(manifest["input"]["height"], manifest["input"]["width"])
    row.ap, row.ap50, row.ap75 = metrics.get("ap"), metrics.get("ap50"), metrics.get("ap75")
    row.ap_small, row.ar_100 = metrics.get("ap_small"), metrics.get("ar_100")
    row.ap_low, row.ap_high, row.small_recall = _card_columns(evaluation)
    row.p50_ms, row.p95_ms, row.mean_ms, row.fps = (
        (latency.p50_ms, latency.p95_ms, latency.mean_ms, latency.fps) if latency else (None, None, None, None)
    )
    row.params_m, row.macs_g, row.size_bytes = manifest["params_m"], manifest["macs_g"], exported.artifact.size
    row.flags = _flags(evaluation, latency)
    row.origin = _origin(evaluation, latency)
    row.complete = evaluation is not None and latency is not None and evaluation.ap is not None
    row.selection_split = known.split in ("train", "val")
    row.group_key = _group_key(known, evaluation, latency)
    row.save()
    return former | {row.group_key}


def _fronts_refresh(groups: Iterable[str]) -> None:
    """Compute fronts anew, in one order everywhere, so that nobody waits in a ring."""
    for group_key in sorted(groups):
        front_refresh(group_key=group_key)


def _card_columns(evaluation: Evaluation | None) -> tuple[float | None, float | None, float | None]:
    """AP's interval and small-object recall at the operating point; None where an evaluation has no card, as older ones."""
    card = (evaluation.result.get("accuracy") if evaluation else None) or {}
    interval = (card.get("bootstrap") or {}).get("intervals", {}).get("ap") or {}
    return interval.get("low"), interval.get("high"), (card.get("operating_point") or {}).get("small_recall")


def _flags(evaluation: Evaluation | None, latency: LatencyMeasurement | None) -> list[str]:
    return [*(latency.flags if latency else ()), *(accuracy_flags(evaluation) if evaluation else ())]


def _origin(evaluation: Evaluation | None, latency: LatencyMeasurement | None) -> str:
    """Name the machines whose numbers came in as bundles; empty where all were measured by workers of this site."""
    origins = [measured.job.origin for measured in (latency, evaluation) if measured is not None and measured.job.origin]
    return "; ".join(dict.fromkeys(origins))[:200]


def _group_key(known: Evaluation | LatencyMeasurement, evaluation: Evaluation | None, latency: LatencyMeasurement | None) -> str:
    """Hash what must be equal within a front. An AP that was told from elsewhere stands on no front of numbers that were measured here."""
    conditions: list[Any] = [
        known.dataset_version.content_hash,
        known.split,
        known.environment.stable_hash,
        known.threads,
        [latency.scenario, latency.batch, latency.duration, latency.protocol.get("version")] if latency else None,
        known.protocol.get("score_thresh"),
    ]
    if evaluation is not None and evaluation.job.origin and not known.job.origin:
        conditions.append(evaluation.job.origin)
    return hashlib.sha256(json.dumps(conditions).encode()).hexdigest()


@transaction.atomic
def front_refresh(*, group_key: str) -> None:
    """Compute anew which results of a group stand on its front. Flagged results and those of the selection split never do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int(group_key[:15], 16)])
    group = Result.objects.filter(group_key=group_key)
    rows = list(group.filter(complete=True, selection_split=False, flags=[]).exclude(backend="null").values_list("id", "p50_ms", "ap"))
    on = pareto_front([(p50 or 0.0, ap or 0.0) for _, p50, ap in rows])
    front = [row[0] for row, member in zip(rows, on, strict=True) if member]
    group.exclude(id__in=front).filter(on_front=True).update(on_front=False)
    group.filter(id__in=front, on_front=False).update(on_front=True)
