"""What pages say of a result, in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detection_core.catalogue.flags import FLAGS
from detection_core.catalogue.scenarios import DURATIONS, SCENARIOS
from detection_core.schemas.manifest import NO_NMS
from webapp.results.models import Checkpoint, Evaluation, LatencyMeasurement, Result
from webapp.results.selectors import EVALUATORS_DISAGREE, THRESHOLDED

METRICS: dict[str, tuple[str, str]] = {
    "ap": ("AP", "mean over IoU thresholds 0.50 to 0.95, step 0.05: mAP (COCO AP@[.5:.95])"),
    "ap50": ("AP50", "at IoU 0.50: found, roughly placed"),
    "ap75": ("AP75", "at IoU 0.75: found, well placed"),
    "ap_small": ("AP small", "objects up to 32 × 32 px"),
    "ap_medium": ("AP medium", "objects from 32 × 32 to 96 × 96 px"),
    "ap_large": ("AP large", "objects over 96 × 96 px"),
    "ar_1": ("AR 1", "recall with one detection an image"),
    "ar_10": ("AR 10", "recall with ten detections an image"),
    "ar_100": ("AR 100", "recall with a hundred detections an image"),
    "ar_small": ("AR small", "the same for objects up to 32 × 32 px"),
    "ar_medium": ("AR medium", "the same for objects from 32 × 32 to 96 × 96 px"),
    "ar_large": ("AR large", "the same for objects over 96 × 96 px"),
}
STAGES = {
    "preprocess": "preprocess",
    "h2d": "copy to the device",
    "forward": "forward",
    "d2h": "copy back",
    "postprocess": "postprocess, NMS",
}
QUIET = "Measure again when the machine is quiet."
# What the flags of an accuracy mean, and the remedy.
ACCURACY_FLAGS = {
    EVALUATORS_DISAGREE: (
        "the two evaluators differ by more than 0.000001 in one of the 12 numbers",
        "No number of it may be compared before that is explained: both stand below; please report them.",
    ),
    THRESHOLDED: (
        "detections over 0.001 were cut off by the score threshold, so the number is a lower bound of AP",
        "Evaluate again at score threshold 0.001.",
    ),
}


@dataclass(frozen=True)
class Metric:
    """One of the 12 numbers."""

    title: str
    meaning: str
    value: float | None


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline with its share 0..100 of the median latency."""

    name: str
    p50: float
    p95: float
    share: float


def metric_rows(found: Mapping[str, float | None]) -> list[Metric]:
    """Return the 12 numbers with what they mean."""
    return [Metric(title=title, meaning=meaning, value=found.get(name)) for name, (title, meaning) in METRICS.items()]


def stage_rows(latency: LatencyMeasurement | None) -> list[Stage]:
    """Return the stages of a measurement in their order, [] where none were timed."""
    if latency is None:
        return []
    found = latency.result.get("stages_ms") or {}
    # The database does not keep the order of an object's keys.
    names = [name for name in STAGES if name in found] + sorted(set(found) - set(STAGES))
    whole = sum(stage["p50"] for stage in found.values()) or 1.0
    return [
        Stage(
            name=STAGES.get(name, name.replace("_", " ")),
            p50=found[name]["p50"],
            p95=found[name]["p95"],
            share=round(100 * found[name]["p50"] / whole, 1),
        )
        for name in names
    ]


def flag_meanings(flags: list[str]) -> list[tuple[str, str, str]]:
    """Return each flag in words with what it means and what to do about it."""
    known = {flag: (meaning, QUIET) for flag, meaning in FLAGS.items()} | ACCURACY_FLAGS
    return [(flag.replace("_", " "), *known.get(flag, ("a flag that this version does not know", "Update the site."))) for flag in flags]


def unknown_classes(row: Result) -> list[str]:
    """Return the classes of the data set that the model does not have: they count with AP 0, whatever it finds."""
    known = row.exported_model.manifest.get("classes") or []
    return [name for name in row.dataset_version.classes if name not in known] if row.evaluation is not None else []


def threads_words(threads: int) -> str:
    """Return `1 thread`, `2 threads`."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


def score_thresh(row: Result) -> float | None:
    """Return the score threshold of the row's protocol."""
    measured = row.latency or row.evaluation
    return measured.protocol.get("score_thresh") if measured else None


def passport(row: Result) -> str:
    """Return the protocol in one tag: `quick · 1 thread · 0.001`."""
    parts = [row.duration, threads_words(row.threads), None if score_thresh(row) is None else f"{score_thresh(row):g}"]
    return " · ".join(part for part in parts if part)


def protocol_facts(row: Result) -> list[tuple[str, str]]:
    """Return the conditions of both measurements as pairs of name and words."""
    facts = [("Split", row.split + _split_words(row))]
    if row.latency is not None:
        facts += _latency_facts(row.latency)
    if row.evaluation is not None:
        facts += _evaluation_facts(row.evaluation)
        if row.evaluation.environment_id != row.environment_id:
            facts.append(("AP taken on", f"{row.evaluation.environment.title}, another machine or other versions than the latency"))
    return facts


def _split_words(row: Result) -> str:
    if row.selection_split:
        return ", which also chose the checkpoint"
    trained_on = row.exported_model.manifest.get("dataset_sha256")
    if trained_on == row.dataset_version.content_hash:
        return ", seen by no training"
    return ", of another data set than the training's: whether they share images is not known" if trained_on else ""


def _latency_facts(latency: LatencyMeasurement) -> list[tuple[str, str]]:
    protocol, result = latency.protocol, latency.result
    scenario = SCENARIOS.get(latency.scenario)
    facts = [
        ("Scenario", f"{scenario.title}: {scenario.arrival}" if scenario else latency.scenario),
        ("Duration", _duration_words(latency.duration)),
        ("Measured", f"{result.get('samples', 0)} samples in {result.get('runs', 1)} run{'' if result.get('runs', 1) == 1 else 's'}"),
        ("Batch", str(latency.batch)),
        ("Threads", str(latency.threads)),
        ("Timed", str(protocol.get("timed", "end to end"))),
        ("Not timed", str(protocol.get("not_timed", "–"))),
    ]
    return facts + ([("Interval", str(protocol["interval"]))] if protocol.get("interval") else [])


def _duration_words(name: str) -> str:
    rule = DURATIONS.get(name)
    if rule is None:
        return name
    runs = "1 run" if rule.runs == 1 else f"{rule.runs} runs"
    return f"{name}: {runs}, at least {rule.min_samples:,} samples and {rule.min_seconds:g} s, at most {rule.max_seconds:g} s each"


def _evaluation_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    protocol, result = evaluation.protocol, evaluation.result
    audit = result.get("audit")
    facts = [
        ("Score threshold", f"{protocol.get('score_thresh', 0.001):g}"),
        ("NMS", f"{_nms_words(protocol)}, at most {protocol.get('max_det', '–')} detections an image"),
        ("Images", f"{result.get('images', '–')}, {result.get('detections', '–')} detections"),
        ("AP counted by", str(result.get("engine", "–"))),
    ]
    if audit:
        facts.append(("Audited by", f"{audit['engine']}: largest difference {audit['max_abs_difference']:.1g}"))
    return facts


def _nms_words(protocol: Mapping[str, Any]) -> str:
    threshold = protocol.get("nms_thresh", "–")
    return "none after the network" if threshold == NO_NMS else f"at IoU {threshold}"


def environment_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the machine and software of a measurement as pairs of name and words."""
    versions = ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
    details = record.get("details") or {}
    limits = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in (details.get("limits") or {}).items())
    facts = [
        ("Processor", record.get("cpu")),
        ("Cores", record.get("cores")),
        ("Memory", f"{record['memory_gb']:g} GB" if record.get("memory_gb") else None),
        ("Device", record.get("device_name") or record.get("device")),
        ("Driver", record.get("driver")),
        ("Instructions", ", ".join(record.get("instruction_sets") or ())),
        ("Limits", limits),
        ("Clock governor", record.get("governor")),
        ("System", record.get("os")),
        ("Python", record.get("python")),
        ("Packages", versions),
        ("Host", record.get("hostname")),
    ]
    return [(name, str(value)) for name, value in facts if value]


def checkpoint_filename(checkpoint: Checkpoint) -> str:
    """Return the file name under which a checkpoint is downloaded."""
    return f"{checkpoint.model}-{checkpoint.role}-{checkpoint.artifact_id[:8]}.safetensors"


def model_filename(row: Result) -> str:
    """Return the file name under which the measured file is downloaded."""
    if row.checkpoint is not None and row.checkpoint.artifact_id == row.exported_model.artifact_id:
        return checkpoint_filename(row.checkpoint)
    exported = row.exported_model
    return f"{exported.model}-{exported.dtype}-{exported.artifact_id[:8]}.{'onnx' if exported.format == 'onnx' else exported.format}"


def commands(row: Result) -> list[tuple[str, str]]:
    """Return the commands that make this result's numbers again with no server, each with what it answers."""
    file, data = shlex.quote(model_filename(row)), shlex.quote(row.dataset_version.file_name)
    which = "--artifact" if row.exported_model.format == "onnx" else "--checkpoint"
    head = "python -m detection_core"
    threshold = score_thresh(row)
    shared = f"--backend {row.backend} --dataset {data} --split {row.split} --score-thresh {0.001 if threshold is None else threshold:g}"
    found = []
    if row.evaluation is not None:
        tail = f"--threads {row.evaluation.threads}{_device(row.evaluation)} --json"
        found.append(("Accuracy", f"{head} evaluate {which} {file} {shared} {tail}"))
    if row.latency is not None:
        timing = f"--scenario {row.latency.scenario} --duration {row.latency.duration} --seed {row.latency.protocol.get('seed', 0)}"
        tail = f"--threads {row.latency.threads}{_device(row.latency)} --json"
        found.append(("Latency", f"{head} benchmark --artifact {file} {shared} {timing} {tail}"))
    return found


def _device(measurement: Evaluation | LatencyMeasurement) -> str:
    device = measurement.job.spec.get("device", "cpu")
    return "" if device == "cpu" else f" --device {device}"
