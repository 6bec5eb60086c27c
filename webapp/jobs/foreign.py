"""A model that was made elsewhere: its import, and the measurements that wait for it, planned as jobs."""

from __future__ import annotations

from typing import Any

from detection_core.catalogue.layouts import LAYOUTS, PICKLE_HEADS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ImportModelSpec
from webapp.datasets.models import DatasetVersion
from webapp.jobs.pipeline import device_of
from webapp.jobs.selectors import lane_threads
from webapp.jobs.services import PlannedJob

MODEL = "model"
HEAD_BYTES = 8
MOST_NAMED = 3
MOST_ADVISED = 12


def is_weights(head: bytes) -> bool:
    """Say whether a file that begins with `head` (HEAD_BYTES) is PyTorch's: a zip, or a pickle. An ONNX file begins with neither."""
    return head.startswith(PICKLE_HEADS)


def import_plan(spec: ImportModelSpec, *, weights: bool, lane: str) -> PlannedJob:
    """Return the import of a model; `weights` as `is_weights` says of its file.

    Raises:
        InvalidInput: the file is of a kind that no layout reads.
    """
    if weights and spec.layout != "fastestdet":
        raise InvalidInput("PyTorch weights are taken of FastestDet only, since they hold no graph; export the model to ONNX")
    return PlannedJob(alias=MODEL, spec=spec, title=f"{spec.name} · {LAYOUTS[spec.layout].title}", lane=lane)


def measure_plan(
    spec: ImportModelSpec, version: DatasetVersion, *, weights: bool, split: str, duration: str, lane: str
) -> list[PlannedJob]:
    """Return the evaluation and the latency measurement that wait for the import of a model; `weights` as for the import.

    Raises:
        InvalidInput: the data set has no images in this split, or none of the model's classes.
    """
    if not version.splits.get(split, {}).get("images"):
        raise InvalidInput(f"{version} has no {split} images; choose another data set or split")
    known = [spec.class_map.get(name, name) for name in spec.classes]
    if not set(known) & set(version.classes):
        theirs, ours = (f"{', '.join(names[:MOST_NAMED])}{', …' if len(names) > MOST_NAMED else ''}" for names in (known, version.classes))
        raise InvalidInput(f"none of the model's classes ({theirs}) is one of {version} ({ours}); map them to the names of the data set")
    role, backend = ("checkpoint_best", "eager") if weights else ("exported_model", "onnxruntime")
    threads = lane_threads(lane)
    shared: dict[str, Any] = {
        "artifact": {"name": spec.name},
        "backend": backend,
        "dataset": InputFile(sha256=version.artifact_id, name=f"{version}.tar").to_dict(),
        "split": split,
        "device": device_of(lane),
    }
    steps = (
        EvaluateSpec.parse({**shared, "threads": threads}),
        BenchmarkSpec.parse({**shared, "duration": duration, "threads": max(1, threads // 2)}),
    )
    title, needs = f"{spec.name} · {version} · {backend}", {"artifact": (MODEL, role)}
    return [PlannedJob(alias=step.kind, spec=step, title=title, lane=lane, needs=needs) for step in steps]


def class_advice(spec: ImportModelSpec, version: DatasetVersion) -> str:
    """Say which classes model and data set do not share although both have others: likely one thing under two names. Empty where none."""
    known = [spec.class_map.get(name, name) for name in spec.classes]
    theirs, ours = [name for name in known if name not in version.classes], [name for name in version.classes if name not in known]
    if not theirs or not ours:
        return ""
    there, here = (", ".join(names[:MOST_ADVISED]) + (", …" if len(names) > MOST_ADVISED else "") for names in (theirs, ours))
    return (
        f"Classes of the model that {version} does not have: {there}. Classes of the data set that the model does not have, which count "
        f"with AP 0: {here}. Where two names mean one thing, import the model again with a class mapping."
    )


def suite_title(spec: ImportModelSpec, version: DatasetVersion) -> str:
    """Name a model's import with its measurements."""
    return f"{spec.name} on {version}"
