"""Evaluate: the accuracy of one model file on one split with one backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from detection_core.backends.pipeline import DetectionPipeline
from detection_core.benchmark.environment import environment_record
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.evaluation.coco_files import write_detections
from detection_core.evaluation.coco_metrics import IOU_THRESHOLDS, engine_version
from detection_core.evaluation.evaluator import detect, evaluate
from detection_core.operations.accuracy import Judged, account
from detection_core.operations.context import JobContext, file_sha256
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import EvaluateResult
from detection_core.schemas.specs import EvaluateSpec

PROGRESS_EVERY_S = 0.5
AP_SCORE_THRESH = 0.001
DETECTED = 0.9  # of the job is done when the images are


def run(spec: EvaluateSpec, context: JobContext) -> EvaluateResult:
    """Evaluate a model file and write its detections, curves and examples (`*.json.gz`) into the job's folder.

    The operating point's threshold is chosen on `spec.operating_split`, whose images are run too, where the data set has it and it is not
    the evaluated split; else on the evaluated split itself.

    Raises:
        InvalidInput: the backend is `null`, the file cannot be run, or the data set has no such split.
        Stopped: the job was told to stop; nothing is kept, for nothing took long.
    """
    if spec.backend == "null":
        raise InvalidInput("backend 'null' detects nothing, so it has no accuracy; use eager or onnxruntime")
    if spec.score_thresh > AP_SCORE_THRESH:
        context.events.warning(f"score_thresh is {spec.score_thresh}, above {AP_SCORE_THRESH}: the numbers are lower bounds of AP")
    path = context.resolve(spec.artifact)
    pipeline = DetectionPipeline(path, backend=spec.backend, device=spec.device, threads=spec.threads, score_thresh=spec.score_thresh)
    context.events.progress(0.0, "reading the data set")
    dataset = context.dataset(spec.dataset)
    records = dataset.require_split(spec.split)
    others = _operating_records(spec, dataset)
    _warn_of_classes(pipeline.classes, dataset.classes, context)
    on_image = _progress(len(records) + len(others), context)
    try:
        found = evaluate(pipeline, dataset, records, on_image=on_image)
        operating = _operating(pipeline, dataset, others, on_image=lambda done: on_image(len(records) + done))
    finally:
        pipeline.close()
    file = context.out / "detections.json.gz"
    write_detections(file, found.detections)
    judged = Judged(
        found.ground_truth,
        found.detections,
        groups={record.image_id: record.group for record in records},
        operating=operating,
        chosen_on=others[0].split if others else spec.split,
    )
    known = account(judged, context, begin=DETECTED)
    context.events.progress(1.0, "done")
    return EvaluateResult(
        metrics=found.metrics,
        per_class=found.per_class,
        images=len(records),
        detections=len(found.detections),
        split=spec.split,
        backend=spec.backend,
        artifact_sha256=file_sha256(path),
        dataset_sha256=dataset.content_hash,
        manifest=pipeline.manifest,
        protocol=protocol(pipeline),
        engine=engine_version("hotcoco"),
        audit=known.audit,
        accuracy=known.card,
        environment=environment_record(device=spec.device, threads=spec.threads),
        files=(context.emit("detections", file), *known.files),
    )


def protocol(pipeline: DetectionPipeline) -> dict[str, Any]:
    """Return everything besides file, data and backend that an AP depends on."""
    policy = pipeline.input
    return {
        "iou_thresholds": IOU_THRESHOLDS,
        **pipeline.postprocessing.to_dict(),
        "resize": policy.resize,
        "input": [policy.height, policy.width],
        "batch": 1,
        "nms_in_graph": pipeline.manifest.nms_in_graph,
    }


def _operating_records(spec: EvaluateSpec, dataset: DetectionDataset) -> tuple[ImageRecord, ...]:
    """Images of another split to choose the threshold on; none where no object stands on them, for then they choose nothing."""
    if spec.operating_split is None or spec.operating_split == spec.split:
        return ()
    records = dataset.split(spec.operating_split)
    return records if any(len(record.labels) for record in records) else ()


def _operating(
    pipeline: DetectionPipeline, dataset: DetectionDataset, records: Sequence[ImageRecord], *, on_image: Callable[[int], None]
) -> tuple[dict[str, Any], np.ndarray] | None:
    if not records:
        return None
    return dataset.coco(records), detect(pipeline, dataset, records, on_image=on_image)


def _warn_of_classes(model_classes: tuple[str, ...], dataset: tuple[str, ...], context: JobContext) -> None:
    unknown = [name for name in dataset if name not in model_classes]
    dropped = [name for name in model_classes if name not in dataset]
    if unknown:
        context.events.warning(f"the model does not know {', '.join(unknown)}: these classes count with AP 0")
    if dropped:
        context.events.warning(f"the data set does not have {', '.join(dropped)}: detections of these classes are dropped")


def _progress(images: int, context: JobContext) -> Callable[[int], None]:
    """Report progress at most twice a second, and leave when the job was told to stop."""
    begin = last = time.monotonic()

    def on_image(done: int) -> None:
        nonlocal last
        context.raise_if_stopped()
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or done == images:
            last = now
            eta_s = (now - begin) / done * (images - done)
            context.events.progress(DETECTED * done / images, f"image {done} of {images}", eta_s=eta_s)

    return on_image
