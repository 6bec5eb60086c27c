"""Runs a detector over the images of a split and scores what it found."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detection_core.backends.pipeline import ImageDetections, ModelPipeline, pipeline_of_model
from detection_core.build import make_manifest
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Postprocessing
from detection_core.schemas.results import ClassMetrics, CocoMetrics

if TYPE_CHECKING:
    from torch import nn

    from detection_core.models.adapter import DetectorAdapter


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: `detections` float64 [n, 7], rows of image id, x, y, w, h, score, category id (label + 1)."""

    ground_truth: dict[str, Any]
    detections: np.ndarray
    metrics: CocoMetrics
    per_class: tuple[ClassMetrics, ...]


def evaluate(
    pipeline: ModelPipeline,
    dataset: DetectionDataset,
    records: Sequence[ImageRecord],
    *,
    on_image: Callable[[int], None] | None = None,
) -> Evaluation:
    """Detect on every record, one image at a time, and score with COCO's numbers.

    Args:
        pipeline: its classes are matched to the data set's by name; detections of other classes are dropped.
        records: images of `dataset`.
        on_image: called with the number of images done, after each; may raise to stop.

    Raises:
        InvalidInput: detector and data set have no class in common, or an image cannot be read.
    """
    detections = detect(pipeline, dataset, records, on_image=on_image)
    ground_truth = dataset.coco(records)
    metrics, per_class = coco_metrics(ground_truth, detections)
    return Evaluation(ground_truth, detections, metrics, per_class)


def detect(
    pipeline: ModelPipeline,
    dataset: DetectionDataset,
    records: Sequence[ImageRecord],
    *,
    on_image: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the detections on every record, float64 [n, 7]; arguments and errors as `evaluate`."""
    category_of_label = match_classes(pipeline.classes, dataset.classes)
    rows = [np.zeros((0, 7))]
    for done, record in enumerate(records, start=1):
        found = pipeline.detect(dataset.read_image(record))
        rows.append(detection_rows(record.image_id, found, category_of_label))
        if on_image is not None:
            on_image(done)
    return np.concatenate(rows)


def evaluate_model(
    adapter: DetectorAdapter,
    model: nn.Module,
    dataset: DetectionDataset,
    records: Sequence[ImageRecord],
    *,
    threads: int,
    score_thresh: float = 0.001,
    postprocessing: Postprocessing | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate a network in memory, on its own device, just as `evaluate` would its checkpoint file.

    A copy is evaluated: mode, memory layout and running statistics of `model` stay as they are.

    Args:
        postprocessing: where None, what the manifest of this model's checkpoint would say.
    """
    rules = (postprocessing or make_manifest(adapter).postprocessing).model_copy(update={"score_thresh": score_thresh})
    device = str(next(model.parameters()).device)
    pipeline = pipeline_of_model(adapter, copy.deepcopy(model), device=device, threads=threads, postprocessing=rules)
    try:
        return evaluate(pipeline, dataset, records, on_image=on_image)
    finally:
        pipeline.close()


def match_classes(model_classes: Sequence[str], dataset_classes: Sequence[str]) -> dict[int, int]:
    """Return the data set's category id (label + 1) for each label of the model whose class name the data set has.

    Raises:
        InvalidInput: no name is common to both.
    """
    category_of_name = {name: index + 1 for index, name in enumerate(dataset_classes)}
    found = {label: category_of_name[name] for label, name in enumerate(model_classes) if name in category_of_name}
    if not found:
        raise InvalidInput(
            f"the model knows {_names(model_classes)} and the data set has {_names(dataset_classes)}; "
            "rename the data set's classes with 'REF:names=a,b' or choose another data set"
        )
    return found


def detection_rows(image_id: int, found: ImageDetections, category_of_label: dict[int, int]) -> np.ndarray:
    """Return the detections of one image as rows of image id, x, y, w, h, score, category id."""
    categories = np.array([category_of_label.get(label, 0) for label in found.labels.tolist()], dtype=np.float64)
    boxes_xywh = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    rows = np.column_stack([np.full(len(categories), float(image_id)), boxes_xywh, found.scores, categories])
    return rows[categories > 0]


def _names(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5])
    return shown if len(classes) <= 5 else f"{shown} and {len(classes) - 5} more"
