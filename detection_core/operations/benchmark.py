"""Measure the end-to-end latency of a model file on real images (docs/protocol.md)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.benchmark.clock import clock_step_ns
from detection_core.benchmark.environment import environment_record
from detection_core.benchmark.images import choose_images, decode_images, save_images
from detection_core.benchmark.runner import WARMUPS, RunRecord
from detection_core.benchmark.samples import figures_of, write_samples
from detection_core.benchmark.statistics import REPLICATES, latency_summary
from detection_core.benchmark.validity import foreign_share, load_series, steal_share
from detection_core.benchmark.worker import IMAGES, OnProgress, RunPlan, run_here, run_in_new_process, write_plan
from detection_core.build import read_manifest
from detection_core.catalogue.scenarios import DURATIONS
from detection_core.operations.context import JobContext, file_sha256
from detection_core.schemas.results import BenchmarkResult
from detection_core.schemas.specs import BenchmarkSpec

PROTOCOL_VERSION = 1
SAMPLES_NAME = "samples.json.gz"


def run(spec: BenchmarkSpec, context: JobContext) -> BenchmarkResult:
    """Measure and return the figures with their flags; the raw samples are left in `samples.json.gz`.

    Raises:
        InvalidInput: the file, the data set, the split, the backend or the device cannot be used.
    """
    artifact = context.resolve(spec.artifact)
    manifest = read_manifest(artifact)
    dataset = context.dataset(spec.dataset)
    chosen = choose_images(dataset.require_split(spec.split), seed=spec.seed)
    context.events.progress(0.0, f"decoding {len(chosen)} images")
    images = decode_images(dataset, chosen)
    plan = RunPlan(
        artifact=str(artifact),
        backend=spec.backend,
        device=spec.device,
        threads=spec.threads,
        score_thresh=spec.score_thresh,
        seed=spec.seed,
        duration=DURATIONS[spec.duration],
        warmup=WARMUPS[spec.duration],
    )
    records = _run_all(plan, images, context)
    protocol = protocol_of(spec, images=len(chosen))
    path = context.out / SAMPLES_NAME
    write_samples(path, records, images=[record.file for record in chosen], seed=spec.seed, protocol=protocol)
    figures = figures_of(records, seed=spec.seed)
    return BenchmarkResult(
        latency_ms=figures.latency_ms,
        fps=figures.fps,
        stages_ms=figures.stages_ms,
        samples=figures.samples,
        runs=figures.runs,
        flags=figures.flags,
        scenario=spec.scenario,
        duration=spec.duration,
        split=spec.split,
        backend=spec.backend,
        threads=spec.threads,
        batch=spec.batch,
        artifact_sha256=file_sha256(artifact),
        dataset_sha256=dataset.content_hash,
        manifest=manifest,
        protocol=protocol,
        telemetry={"clock_step_ns": clock_step_ns(), "runs": [run_summary(record) for record in records]},
        environment=environment_record(spec.device, spec.threads),
        files=(context.emit("samples", path),),
    )


def _run_all(plan: RunPlan, images: Sequence[np.ndarray], context: JobContext) -> list[RunRecord]:
    """Make all runs. One alone is made here, since a job is a fresh process already; of several each gets its own."""
    runs = plan.duration.runs
    begin = time.monotonic()
    if runs == 1:
        return [run_here(plan, images, run=0, on_progress=_progress(context, 0, 1, begin))]
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=context.out) as name:
        folder = Path(name)
        write_plan(folder, plan)
        save_images(folder / IMAGES, images)
        return [
            run_in_new_process(folder, run=index, threads=plan.threads, on_progress=_progress(context, index, runs, begin))
            for index in range(runs)
        ]


def _progress(context: JobContext, index: int, runs: int, begin: float) -> OnProgress:
    """Return what tells the job's progress from that of one run; it leaves by `Stopped` when the job was told to stop."""

    def tell(fraction: float, eta_s: float | None) -> None:
        context.raise_if_stopped()
        done = (index + fraction) / runs
        if runs > 1 and done > 0:  # loading counts too, which a run does not know of
            eta_s = (time.monotonic() - begin) * (1 - done) / done
        context.events.progress(done, f"timing, run {index + 1} of {runs}", eta_s=eta_s)

    return tell


def protocol_of(spec: BenchmarkSpec, *, images: int) -> dict[str, Any]:
    """Return what must be equal for two latencies to be compared, besides model, environment and data."""
    rule = DURATIONS[spec.duration]
    return {
        "version": PROTOCOL_VERSION,
        "scenario": spec.scenario,
        "batch": spec.batch,
        "duration": asdict(rule),
        "warmup": asdict(WARMUPS[spec.duration]),
        "timed": "preprocess, copies to and from the device, forward, postprocess with NMS",
        "not_timed": "reading and decoding the image file",
        "score_thresh": spec.score_thresh,
        "images": images,
        "seed": spec.seed,
        "percentile": "sorted sample at rank ceil(q * n), over all runs together",
        "interval": f"95%, bootstrap over {'runs and ' if rule.runs > 1 else ''}blocks of consecutive samples, {REPLICATES} replicates",
        "interval_scope": "between and within runs" if rule.runs > 1 else "within the one run",
    }


def run_summary(record: RunRecord) -> dict[str, Any]:
    """Return the figures of one run, so that the spread between runs can be seen."""
    summary = latency_summary([record.recorded()], interval=False)
    inside = record.readings_inside()
    return {
        "run": record.run,
        "samples": len(record.recorded()),
        "warmup_samples": record.warmup_samples,
        "mean_ms": summary.mean,
        "p50_ms": summary.p50,
        "p95_ms": summary.p95,
        "foreign_share": foreign_share(inside),
        "steal_share": steal_share(inside),
        "load": load_series(inside),
        "flags": list(record.flags),
    }
