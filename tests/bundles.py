"""Folders of finished jobs and bundles of them, for tests: no model is run."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from detection_core.operations.bundle import write_bundle
from tests.factories import environment_fields, manifest_of, metrics_of, summary_of

CLASSES = ("crop", "weed")
CPU = "A faraway CPU"


def evaluation(
    *, artifact: str = "a" * 64, dataset: str = "d" * 64, ap: float = 0.41, manifest: dict[str, Any] | None = None
) -> tuple[dict, dict]:
    """Return spec and result of an evaluation; the result's files come with `job_folder`."""
    spec = {
        "kind": "evaluate",
        "artifact": {"sha256": artifact, "name": "model.onnx", "url": "http://127.0.0.1:8000/artifacts/a/model.onnx"},
        "backend": "onnxruntime",
        "dataset": {"ref": "/home/someone/secret place/fields.tar", "name": "fields v1.tar"},
        "split": "test",
    }
    result = {
        "kind": "evaluate",
        "metrics": metrics_of(ap),
        "per_class": [],
        "images": 72,
        "detections": 100,
        "split": "test",
        "backend": "onnxruntime",
        "artifact_sha256": artifact,
        "dataset_sha256": dataset,
        "manifest": manifest or manifest_of("fcos_resnet10_fpn", form="onnx", dtype="fp32", classes=CLASSES),
        "protocol": {"score_thresh": 0.001},
        "engine": "hotcoco",
        "audit": {"engine": "pycocotools", "images": 72, "max_abs_difference": 0.0},
        "environment": environment_fields(CPU),
    }
    return spec, result


def latency(*, p50: float = 9.0, **same: Any) -> tuple[dict, dict]:
    """Return spec and result of a latency measurement of the same file on the same data."""
    spec, told = evaluation(**same)
    result = {
        "kind": "benchmark",
        "latency_ms": summary_of(p50),
        "fps": 1000 / summary_of(p50)["mean"],
        "stages_ms": {"forward": summary_of(p50)},
        "samples": 120,
        "runs": 1,
        "flags": [],
        "scenario": "single_stream",
        "duration": "quick",
        "threads": 1,
        "batch": 1,
        **{name: told[name] for name in ("split", "backend", "artifact_sha256", "dataset_sha256", "manifest", "protocol", "environment")},
    }
    return {**spec, "kind": "benchmark"}, result


def training(*, dataset: str = "d" * 64, classes: tuple[str, ...] = CLASSES) -> tuple[dict, dict, dict[str, bytes]]:
    """Return spec, result and the two checkpoints of a training."""
    manifest = manifest_of("fcos_resnet10_fpn", form="safetensors", dtype="fp32", classes=classes)
    files = {f"{which}.safetensors": weights(manifest, which) for which in ("best", "last")}
    told = {
        which: {"path": f"{which}.safetensors", "sha256": sha(files[f"{which}.safetensors"]), "epoch": 3.0, "metrics": metrics_of(0.3)}
        for which in ("best", "last")
    }
    result = {
        "kind": "train",
        **told,
        "manifest": manifest,
        "recipe": {},
        "dataset_sha256": dataset,
        "steps": 30,
        "epochs": 3.0,
        "seconds": 60.0,
        "images_per_s": 12.0,
        "environment": environment_fields(CPU),
    }
    return {"kind": "train", "model": "fcos_resnet10_fpn", "dataset": {"ref": "fields", "name": "fields"}}, result, files


def weights(manifest: dict[str, Any], salt: str) -> bytes:
    """Return a .safetensors file with no tensor in it."""
    header = json.dumps({"__metadata__": {"paretobox_manifest": json.dumps(manifest), "salt": salt}}).encode()
    return struct.pack("<Q", len(header)) + header


def sha(content: bytes) -> str:
    """Return the hash of bytes."""
    return hashlib.sha256(content).hexdigest()


def job_folder(folder: Path, spec: dict[str, Any], result: dict[str, Any], files: dict[str, tuple[str, bytes]] | None = None) -> Path:
    """Write what a job leaves: spec, events, result and its files (path to role and content)."""
    folder.mkdir(parents=True, exist_ok=True)
    if files is None:
        role = {"evaluate": "detections", "benchmark": "samples"}[result["kind"]]
        files = {f"{role}.json.gz": (role, gzip.compress(b"[]", mtime=0))}
    for name, (_, content) in files.items():
        (folder / name).write_bytes(content)
    listed = [{"role": role, "path": name, "sha256": sha(content), "size": len(content)} for name, (role, content) in files.items()]
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "result.json").write_text(json.dumps({**result, "files": listed}))
    events = [
        {"type": "progress", "time": 1.0, "fraction": 0.5, "message": "image 1 of 2"},
        {"type": "metric", "time": 2.0, "step": 1, "epoch": 1.0, "values": {"loss": 1.5}},
        {"type": "warning", "time": 3.0, "message": "a word of warning"},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def bundle(folder: Path, spec: dict[str, Any], result: dict[str, Any], files: dict[str, tuple[str, bytes]] | None = None) -> Path:
    """Write such a folder and pack it."""
    target = folder.with_suffix(".tar")
    write_bundle(job_folder(folder, spec, result, files), target)
    return target
