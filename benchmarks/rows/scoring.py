"""Scoring many detections: hotcoco, which the product uses, beside pycocotools, the reference; both must give the same 12 numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.row import Arm, Mark, Options, Row
from detection_core.evaluation.coco_metrics import Engine, coco_metrics, largest_difference
from detection_core.schemas.results import CocoMetrics

CLASSES = 80
DETECTIONS_PER_IMAGE = 100
TRUTHS_PER_IMAGE = 7
AGREEMENT = 1e-9


def generated(images: int, seed: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Return ground truth and detections: a third of the detections lie near an object, the rest anywhere."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    rows = []
    for image in range(1, images + 1):
        boxes = _boxes(rng, TRUTHS_PER_IMAGE)
        labels = rng.integers(1, CLASSES + 1, TRUTHS_PER_IMAGE)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        rows.append(_detections(rng, image, boxes, labels))
    truth = {
        "images": [{"id": image, "width": 640, "height": 480} for image in range(1, images + 1)],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, np.concatenate(rows)


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open both evaluators over the same generated set."""
    truth, table = generated(500 if options.quick else 5000)
    found: dict[str, CocoMetrics] = {}

    def seconds(engine: Engine) -> float:
        began = time.perf_counter()
        found[engine], _ = coco_metrics(truth, table, engine=engine)
        return time.perf_counter() - began

    yield {"hotcoco": lambda: seconds("hotcoco"), "pycocotools": lambda: seconds("pycocotools")}
    difference = largest_difference(found["hotcoco"], found["pycocotools"])
    if difference > AGREEMENT:
        raise AssertionError(f"the two evaluators differ by {difference:g}; no speed counts while they do")


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    size = rng.uniform(8, 200, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([640, 480]) - size)
    return np.hstack([corner, size])


def _detections(rng: np.random.Generator, image: int, truths: np.ndarray, labels: np.ndarray) -> np.ndarray:
    near = DETECTIONS_PER_IMAGE // 3
    of = rng.integers(0, len(truths), near)
    shaken = truths[of] + rng.normal(0, 0.1, (near, 4)) * np.tile(truths[of, 2:], 2)
    shaken[:, 2:] = np.maximum(shaken[:, 2:], 1)
    boxes = np.vstack([shaken, _boxes(rng, DETECTIONS_PER_IMAGE - near)])
    classes = np.concatenate([labels[of], rng.integers(1, CLASSES + 1, DETECTIONS_PER_IMAGE - near)])
    scores = np.round(rng.uniform(0, 1, DETECTIONS_PER_IMAGE), 4)
    return np.column_stack([np.full(DETECTIONS_PER_IMAGE, image), boxes, scores, classes])


ROW = Row(
    name="scoring",
    what="COCO numbers of 500,000 detections on 5,000 images, 80 classes (quick: 50,000 on 500)",
    unit="s",
    mark=Mark("speedup", 20),
    arms=arms,
    rounds=3,
    quick_rounds=3,
)
