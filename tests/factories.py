"""Rows for tests and for looking at pages: small helpers that fill the database with believable content."""

from __future__ import annotations

import hashlib
import itertools
import random
from datetime import timedelta
from typing import Any

from django.utils import timezone

from detection_core.catalogue.detectors import DETECTORS
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.hardware.models import Environment, Worker
from webapp.jobs.models import Job
from webapp.jobs.states import SLOT_OF_KIND, State
from webapp.results.models import Checkpoint, Evaluation, ExportedModel, LatencyMeasurement, Result
from webapp.results.services import front_refresh

PASSWORD = "a long enough password"
METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
_counter = itertools.count(1)


def sha(*parts: Any) -> str:
    """Return a hash that stands for some content."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def make_user(username: str = "alice", **fields: Any) -> User:
    """Make a person who can log in with PASSWORD."""
    return User.objects.create_user(username=username, password=PASSWORD, **fields)


def make_artifact(kind: str = "checkpoint_best", name: str = "model.safetensors", *, size: int = 21_500_000, key: str = "") -> Artifact:
    """Make the row of a stored file; its bytes do not exist."""
    digest = sha(key or next(_counter), kind, name)
    return Artifact.objects.create(sha256=digest, size=size, kind=kind, name=name, storage_key=f"sha256/{digest[:2]}/{digest}")


def environment_fields(cpu: str = "AMD EPYC 7443P 24-Core Processor", *, threads: int = 1) -> dict[str, Any]:
    """Return a record as detection_core.schemas.results.Environment has it."""
    return {
        "stable_hash": sha(cpu, threads)[:16],
        "hostname": "cpu-lab",
        "cpu": cpu,
        "cores": 2,
        "memory_gb": 15.6,
        "instruction_sets": ["avx2", "fma", "avx512f"],
        "device": "cpu",
        "device_name": None,
        "driver": None,
        "os": "Linux-6.8.0-x86_64-with-glibc2.39",
        "python": "3.12.4",
        "versions": {"torch": "2.14.1", "torchvision": "0.29.1", "onnxruntime": "1.31.0", "numpy": "2.3.1"},
        "governor": "performance",
        "details": {"threads": threads, "physical_cores": 2, "limits": {}},
    }


def make_environment(cpu: str = "AMD EPYC 7443P 24-Core Processor", *, threads: int = 1) -> Environment:
    """Make a machine with a thread count."""
    record = environment_fields(cpu, threads=threads)
    found = Environment.objects.filter(stable_hash=record["stable_hash"]).first()
    return found or Environment.objects.create(stable_hash=record["stable_hash"], title=f"{cpu}, 2 cores", device="cpu", record=record)


def make_worker(name: str = "cpu-lab-1", *, environment: Environment | None = None, seconds_ago: float = 2, **fields: Any) -> Worker:
    """Make a worker that reported itself `seconds_ago`."""
    now = timezone.now()
    capabilities = {
        "kind": "probe",
        "environment": environment_fields(),
        "backends": [
            {"name": "eager", "devices": ["cpu"], "formats": ["safetensors"], "reason": None},
            {"name": "onnxruntime", "devices": [], "formats": ["onnx"], "reason": "onnxruntime is not installed; install paretobox[ml]"},
            {"name": "null", "devices": ["cpu"], "formats": ["safetensors", "onnx"], "reason": None},
        ],
        "files": [],
    }
    values = {
        "host": "cpu-lab",
        "boot_id": "boot-1",
        "pid": 4242,
        "lanes": ["cpu", "cpu-lab"],
        "threads": 2,
        "capabilities": capabilities,
        "load": {"cpu_percent": 63.0, "memory_used_gb": 6.1, "memory_total_gb": 15.6},
        "environment": environment,
        "started_at": now - timedelta(hours=3),
        "heartbeat_at": now - timedelta(seconds=seconds_ago),
    }
    return Worker.objects.create(name=name, **(values | fields))


def make_dataset_version(name: str = "bccd", *, number: int = 1, classes: tuple[str, ...] = ("Platelets", "RBC", "WBC")) -> DatasetVersion:
    """Make a version of a data set."""
    dataset, _ = Dataset.objects.get_or_create(name=name, defaults={"licence": "MIT", "source": "https://example.org/data"})
    found = DatasetVersion.objects.filter(dataset=dataset, number=number).first()
    if found:
        return found
    splits = {
        split: {"images": images, "boxes": images * 12, "per_class": dict.fromkeys(classes, images * 4)}
        for split, images in (("train", 205), ("val", 87), ("test", 72))
    }
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        content_hash=sha("content", name, number),
        artifact=make_artifact("dataset", f"{name}.tar", size=7_300_000, key=f"{name}{number}"),
        classes=list(classes),
        splits=splits,
        report={"issues": [], "counts": {}},
        form="voc",
    )


def make_job(kind: str = "train", *, state: str = State.SUCCEEDED, spec: dict[str, Any] | None = None, **fields: Any) -> Job:
    """Make a job in some state."""
    return Job.objects.create(
        kind=kind, spec={"schema_version": 1, "kind": kind} | (spec or {}), state=state, slot=SLOT_OF_KIND[kind], **fields
    )


def metrics_of(ap: float | None) -> dict[str, float | None]:
    """Return 12 numbers that go with an AP."""
    shares = (1.0, 1.62, 1.05, 0.55, 1.02, 1.3, 0.6, 1.2, 1.35, 0.9, 1.36, 1.5)
    return {name: None if ap is None else min(1.0, ap * share) for name, share in zip(METRICS, shares, strict=True)}


def summary_of(p50: float) -> dict[str, Any]:
    """Return a latency summary around a median."""
    shares = {"mean": 1.03, "p50": 1.0, "p90": 1.1, "p95": 1.17, "min": 0.93, "max": 1.6, "sd": 0.06}
    values: dict[str, Any] = {name: round(p50 * share, 4) for name, share in shares.items()}
    return values | {"p99": None, "p50_ci": [round(p50 * 0.985, 4), round(p50 * 1.02, 4)], "p95_ci": None}


def make_checkpoint(model: str = "fcos_resnet10_fpn", *, dataset_version: DatasetVersion | None = None, role: str = "best") -> Checkpoint:
    """Make a trained checkpoint with the job that made it."""
    entry = DETECTORS.get(model)
    return Checkpoint.objects.create(
        job=make_job("train", spec={"model": model}, title=f"train {model}"),
        role=role,
        artifact=make_artifact("checkpoint_best", f"{model}-best.safetensors"),
        model=model,
        family=entry.family if entry else "other",
        dataset_version=dataset_version or make_dataset_version(),
        recipe={"epochs": 12, "seed": 0},
        metrics=metrics_of(0.41),
        licence=entry.licence if entry else "Apache-2.0",
        epoch=12.0,
    )


def manifest_of(model: str, *, form: str, dtype: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return a manifest as detection_core.schemas.manifest.Manifest has it."""
    entry = DETECTORS.get(model)
    size = entry.input_size if entry else 640
    return {
        "schema_version": 1,
        "format": form,
        "model": model,
        "family": entry.family if entry else "other",
        "stages": entry.stages if entry else "one",
        "classes": list(classes),
        "input": {"height": size, "width": size, "resize": "letterbox", "pad_value": 114},
        "dtype": dtype,
        "outputs": ["boxes", "scores"],
        "nms_in_graph": False,
        "postprocessing": {"score_thresh": 0.001, "nms_thresh": 0.6, "max_det": 100, "pre_nms_topk": 1000},
        "options": {},
        "licence": entry.licence if entry else "Apache-2.0",
        "params_m": entry.params_m if entry else 12.0,
        "macs_g": 4.2,
        "parent_sha256": None,
        "dataset_sha256": None,
    }


def make_result(
    model: str = "fcos_resnet10_fpn",
    *,
    ap: float | None = 0.42,
    p50_ms: float | None = 21.4,
    backend: str = "onnxruntime",
    dtype: str = "fp32",
    split: str = "test",
    duration: str = "quick",
    dataset_version: DatasetVersion | None = None,
    environment: Environment | None = None,
    checkpoint: Checkpoint | None = None,
    flags: tuple[str, ...] = (),
    refresh: bool = True,
) -> Result:
    """Make a stored pair with all that hangs on it. `ap=None` leaves the evaluation out, `p50_ms=None` the measurement."""
    version = dataset_version or make_dataset_version()
    machine = environment or make_environment()
    found = checkpoint or make_checkpoint(model, dataset_version=version)
    form = "onnx" if backend == "onnxruntime" else "safetensors"
    manifest = manifest_of(model, form=form, dtype=dtype, classes=tuple(version.classes))
    artifact = make_artifact("exported_model", f"{model}.{form}", size=20_900_000)
    exported = ExportedModel.objects.create(
        artifact=artifact,
        checkpoint=found,
        model=model,
        family=manifest["family"],
        format=form,
        dtype=dtype,
        manifest=manifest,
        max_abs_difference=3e-6,
    )
    threads = machine.record["details"]["threads"] or 1
    shared = {
        "exported_model": exported,
        "backend": backend,
        "dataset_version": version,
        "split": split,
        "environment": machine,
        "threads": threads,
    }
    evaluation = None if ap is None else _make_evaluation(ap, shared, version)
    latency = None if p50_ms is None else _make_latency(p50_ms, shared, duration, flags)
    metrics = metrics_of(ap)
    key = sha(version.content_hash, split, machine.stable_hash, threads, duration if latency else "")
    row = Result.objects.create(
        evaluation=evaluation,
        latency=latency,
        exported_model=exported,
        checkpoint=found,
        dataset_version=version,
        environment=machine,
        model=model,
        family=manifest["family"],
        stages=manifest["stages"],
        backend=backend,
        dtype=dtype,
        split=split,
        threads=threads,
        scenario="single_stream" if latency else "",
        duration=duration if latency else "",
        input_size=manifest["input"]["height"],
        licence=manifest["licence"],
        group_key=key,
        **{name: metrics[name] for name in ("ap", "ap50", "ap75", "ap_small", "ar_100")},
        p50_ms=p50_ms,
        p95_ms=latency.p95_ms if latency else None,
        mean_ms=latency.mean_ms if latency else None,
        fps=latency.fps if latency else None,
        params_m=manifest["params_m"],
        macs_g=manifest["macs_g"],
        size_bytes=artifact.size,
        flags=list(flags),
        complete=evaluation is not None and latency is not None,
        selection_split=split != "test",
    )
    if refresh:
        front_refresh(group_key=key)
        row.refresh_from_db()
    return row


def _make_evaluation(ap: float, shared: dict[str, Any], version: DatasetVersion) -> Evaluation:
    protocol = {
        "score_thresh": 0.001,
        "nms_thresh": 0.6,
        "max_det": 100,
        "resize": "letterbox",
        "input": [256, 256],
        "batch": 1,
        "nms_in_graph": False,
    }
    per_class = [
        {
            "name": label,
            "ap": round(min(1, ap * (0.7 + 0.3 * place)), 4),
            "ap50": round(min(1, ap * 1.5), 4),
            "ground_truths": 288 * (place + 1),
        }
        for place, label in enumerate(version.classes)
    ]
    result = {
        "kind": "evaluate",
        "split": shared["split"],
        "metrics": metrics_of(ap),
        "per_class": per_class,
        "images": 72,
        "detections": 7200,
        "engine": "hotcoco 1.3.0",
        "audit": {"engine": "pycocotools 2.0.11", "images": 72, "max_abs_difference": 0.0},
        "protocol": protocol,
        "environment": environment_fields(),
    }
    return Evaluation.objects.create(
        **shared,
        job=make_job("evaluate", spec={"backend": shared["backend"], "split": shared["split"]}),
        protocol=protocol,
        result=result,
        ap=ap,
        ap50=min(1.0, ap * 1.62),
        detections=make_artifact("detections", "detections.json.gz", size=310_000),
    )


def _make_latency(p50: float, shared: dict[str, Any], duration: str, flags: tuple[str, ...]) -> LatencyMeasurement:
    summary = summary_of(p50)
    protocol = {
        "version": 1,
        "scenario": "single_stream",
        "batch": 1,
        "duration": {"name": duration, "runs": 1, "min_samples": 100, "min_seconds": 5.0, "max_seconds": 20.0},
        "timed": "preprocess, copies to and from the device, forward, postprocess with NMS",
        "not_timed": "reading and decoding the image file",
        "score_thresh": 0.001,
        "images": 72,
        "seed": 0,
        "interval_scope": "within the one run",
    }
    stages = {name: summary_of(p50 * share) for name, share in (("preprocess", 0.11), ("forward", 0.8), ("postprocess", 0.09))}
    result = {
        "kind": "benchmark",
        "latency_ms": summary,
        "fps": 1000 / summary["mean"],
        "stages_ms": stages,
        "samples": 236,
        "runs": 1,
        "flags": list(flags),
        "protocol": protocol,
        "environment": shared["environment"].record,
    }
    return LatencyMeasurement.objects.create(
        **shared,
        job=make_job("benchmark", spec={"backend": shared["backend"], "split": shared["split"], "duration": duration}),
        protocol=protocol,
        result=result,
        scenario="single_stream",
        duration=duration,
        p50_ms=p50,
        p95_ms=summary["p95"],
        mean_ms=summary["mean"],
        fps=1000 / summary["mean"],
        flags=list(flags),
        samples=make_artifact("samples", "samples.json.gz", size=48_000),
    )


def make_results(count: int, *, seed: int = 0, **shared: Any) -> list[Result]:
    """Make many results in one group, spread as detectors spread: slower ones tend to be better."""
    chance = random.Random(seed)
    names = list(DETECTORS)
    checkpoints = {
        name: make_checkpoint(name, dataset_version=shared.get("dataset_version")) for name in names[: max(1, min(count, len(names)))]
    }
    rows = []
    for place in range(count):
        model = list(checkpoints)[place % len(checkpoints)]
        p50 = 4.0 * 2 ** chance.uniform(0, 6.5)
        ap = min(0.93, max(0.02, 0.12 + 0.055 * (p50 / 4) ** 0.45 * 2 + chance.gauss(0, 0.05)))
        flags = ("disturbed",) if chance.random() < 0.04 else ()
        backend = ("eager", "onnxruntime")[place % 2]
        rows.append(
            make_result(model, ap=ap, p50_ms=p50, backend=backend, flags=flags, checkpoint=checkpoints[model], refresh=False, **shared)
        )
    for key in {row.group_key for row in rows}:
        front_refresh(group_key=key)
    return rows
