"""Score: the COCO numbers of a results file with all that makes them arguable. No model is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detection_core.evaluation.coco_files import read_detections, read_ground_truth
from detection_core.evaluation.coco_metrics import coco_metrics, engine_version
from detection_core.evaluation.result_ids import IdSource, IdSpace, id_spaces
from detection_core.operations.accuracy import Judged, account
from detection_core.operations.context import JobContext
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import ScoreResult
from detection_core.schemas.specs import ScoreSpec

READING, COUNTING = "reading the files", "counting with hotcoco"
OPERATING_SPLIT = "val"
WHOLE_FILE = "the same images"


def run(spec: ScoreSpec, context: JobContext) -> ScoreResult:
    """Score COCO results against a COCO file or a split of a data set; writes `curves.json.gz` and `examples.json.gz`.

    Of a data set, detections on images of other splits are passed over; those on `val` choose the operating point.

    Raises:
        InvalidInput: a file is not there, is not COCO, or the two do not belong together.
        Stopped: the job was told to stop; nothing is kept, for nothing took long.
    """
    context.events.progress(0.0, READING)
    if spec.dataset is not None:
        judged, content_hash = _on_dataset(spec, spec.dataset, context)
    else:
        assert spec.ground_truth is not None  # a spec without both cannot be made
        judged, content_hash = _on_file(spec, spec.ground_truth, context), None
    context.raise_if_stopped()
    context.events.progress(0.2, COUNTING)
    metrics, per_class = coco_metrics(judged.ground_truth, judged.detections)
    found = account(judged, context, begin=0.3)
    context.events.progress(1.0, "done")
    return ScoreResult(
        metrics=metrics,
        per_class=per_class,
        images=len(judged.ground_truth["images"]),
        detections=len(judged.detections),
        dataset_sha256=content_hash,
        split=spec.split if spec.dataset else None,
        engine=engine_version("hotcoco"),
        audit=found.audit,
        accuracy=found.card,
        files=found.files,
    )


def _on_file(spec: ScoreSpec, truth: InputFile, context: JobContext) -> Judged:
    ground_truth = read_ground_truth(context.resolve(truth))
    detections = _detections(spec, ground_truth, "the ground truth's images", None, context)
    return Judged(ground_truth, detections, groups={}, operating=None, chosen_on=WHOLE_FILE)


def _on_dataset(spec: ScoreSpec, file: InputFile, context: JobContext) -> tuple[Judged, str]:
    dataset = context.dataset(file)
    records = dataset.require_split(spec.split)
    spaces = id_spaces(dataset, spec.split)
    detections = _detections(spec, dataset.coco(dataset.records), f"data set '{dataset.name}'", spaces, context)
    ground_truth = dataset.coco(records)
    own = _on_images(detections, ground_truth)
    operating_truth = dataset.coco(dataset.split(OPERATING_SPLIT))
    for_operating = _on_images(detections, operating_truth)
    chosen_elsewhere = spec.split != OPERATING_SPLIT and len(for_operating) > 0 and len(operating_truth["annotations"]) > 0
    used = len(own) + (len(for_operating) if chosen_elsewhere else 0)
    if elsewhere := len(detections) - used:
        told = f"{spec.split} and {OPERATING_SPLIT}, which chooses the threshold" if chosen_elsewhere else spec.split
        context.events.warning(f"{elsewhere} detections are on images of other splits than {told}; they do not count")
    judged = Judged(
        ground_truth,
        own,
        groups={record.image_id: record.group for record in records},
        operating=(operating_truth, for_operating) if chosen_elsewhere else None,
        chosen_on=OPERATING_SPLIT if chosen_elsewhere else spec.split,
    )
    return judged, dataset.content_hash


def _detections(
    spec: ScoreSpec, ground_truth: dict[str, Any], place: str, spaces: Mapping[IdSource, IdSpace] | None, context: JobContext
) -> np.ndarray:
    path = context.resolve(spec.predictions)
    detections, foreign = read_detections(path, ground_truth, place=place, spaces=spaces, ids=spec.ids)
    if foreign:
        context.events.warning(f"{foreign} detections are of classes that the ground truth does not have; they do not count")
    return detections


def _on_images(detections: np.ndarray, ground_truth: dict[str, Any]) -> np.ndarray:
    ids = np.array([image["id"] for image in ground_truth["images"]], dtype=np.float64)
    return detections[np.isin(detections[:, 0], ids)]
