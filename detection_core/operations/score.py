"""Score: the COCO numbers of a results file. No model is run."""

from __future__ import annotations

from detection_core.evaluation.coco_files import read_detections, read_ground_truth
from detection_core.evaluation.coco_metrics import audit, coco_metrics, engine_version
from detection_core.operations.context import JobContext
from detection_core.schemas.results import ScoreResult
from detection_core.schemas.specs import ScoreSpec


def run(spec: ScoreSpec, context: JobContext) -> ScoreResult:
    """Score COCO results against COCO ground truth.

    Raises:
        InvalidInput: a file is not there, is not COCO, or the two do not belong together.
    """
    ground_truth = read_ground_truth(context.resolve(spec.ground_truth))
    detections, foreign = read_detections(context.resolve(spec.predictions), ground_truth)
    if foreign:
        context.events.warning(f"{foreign} detections are of classes that the ground truth does not have; they do not count")
    metrics, _ = coco_metrics(ground_truth, detections)
    context.raise_if_stopped()
    context.events.progress(0.5, "checking the numbers with pycocotools")
    return ScoreResult(
        metrics=metrics,
        images=len(ground_truth["images"]),
        detections=len(detections),
        engine=engine_version("hotcoco"),
        audit=audit(ground_truth, detections),
    )
