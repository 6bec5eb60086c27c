"""The 12 COCO numbers and AP by class, from either of two evaluators.

hotcoco is the fast one; pycocotools, the reference, audits it and alone can produce every number. Both return the same two arrays
(precision and recall by threshold, class, area and detections per image); the averages over them are taken here, once.
"""

from __future__ import annotations

import contextlib
import io
import random
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from detection_core.schemas.results import Audit, ClassMetrics, CocoMetrics

Engine = Literal["hotcoco", "pycocotools"]

IOU_THRESHOLDS = "0.50:0.05:0.95"
# Indices into precision[T,R,K,A,M] and recall[T,K,A,M]: IoU 0.50 and 0.75; areas all, small, medium, large; 1, 10, 100 detections.
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)
TOP_1, TOP_10, TOP_100 = range(3)

# Detections of an image and class that count, the best of them.
MOST_DETECTIONS = 100
# An object of at most so many square pixels is small, of more than so many large.
SMALL_AREA, LARGE_AREA = 32**2, 96**2

AUDIT_WHOLE_UP_TO = 500
AUDIT_SAMPLE = 200
# Largest difference between the two evaluators that rounding explains.
AUDIT_TOLERANCE = 1e-6


def engine_version(engine: Engine) -> str:
    """Return name and version of an evaluator, e.g. "hotcoco 1.3.0"."""
    return f"{engine} {version(engine)}"


def coco_metrics(
    ground_truth: dict[str, Any], detections: np.ndarray | list[dict[str, Any]], *, engine: Engine = "hotcoco"
) -> tuple[CocoMetrics, tuple[ClassMetrics, ...]]:
    """Score detections against COCO ground truth.

    Args:
        ground_truth: COCO dict with images, categories and annotations (`bbox` xywh, `area`, `iscrowd`); one that
            `coco_files.read_ground_truth` or a data set made.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id; or COCO result dicts.
        engine: which evaluator does it.

    Returns:
        The 12 numbers in 0..1, None where no ground truth defines them, and AP by class in order of category id.
    """
    truth = _plain_truth(ground_truth)
    table = detection_table(detections)
    precision, recall = _ENGINES[engine](truth, table)
    return _summary(precision, recall), _by_class(truth, precision)


def audit(ground_truth: dict[str, Any], detections: np.ndarray | list[dict[str, Any]], *, seed: int = 0) -> Audit:
    """Compare both evaluators on the whole set, or above 500 images on a seeded sample of 200.

    The numbers of both are kept where they differ by more than 1e-6: then neither is to be believed before that is explained.
    """
    table = detection_table(detections)
    ids = sorted(image["id"] for image in ground_truth["images"])
    if len(ids) > AUDIT_WHOLE_UP_TO:
        ids = sorted(random.Random(seed).sample(ids, AUDIT_SAMPLE))
        ground_truth, table = _only_images(ground_truth, table, ids)
    fast, _ = coco_metrics(ground_truth, table, engine="hotcoco")
    reference, _ = coco_metrics(ground_truth, table, engine="pycocotools")
    difference = largest_difference(fast, reference)
    word = Audit(engine=engine_version("pycocotools"), images=len(ids), max_abs_difference=difference)
    return word.model_copy(update={"first": fast, "second": reference}) if difference > AUDIT_TOLERANCE else word


def largest_difference(first: CocoMetrics, second: CocoMetrics) -> float:
    """Return the largest absolute difference of the 12 numbers; 1 where only one of the two is defined."""
    pairs = zip(first.to_dict().values(), second.to_dict().values(), strict=True)
    return max(_difference(a, b) for a, b in pairs)


def detection_table(detections: np.ndarray | list[dict[str, Any]]) -> np.ndarray:
    """Return detections as float64 [n, 7]: image id, x, y, w, h, score, category id."""
    if isinstance(detections, np.ndarray):
        return np.ascontiguousarray(detections, dtype=np.float64).reshape(-1, 7)
    rows = [(d["image_id"], *d["bbox"], d["score"], d["category_id"]) for d in detections]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _difference(a: float | None, b: float | None) -> float:
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    return abs(a - b)


def _plain_truth(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """Keep only what both evaluators read alike; annotation ids from 1, for pycocotools takes a match with id 0 for no match."""
    annotations = [
        {
            "id": number,
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": list(entry["bbox"]),
            "area": float(entry["area"]),
            "iscrowd": int(entry.get("iscrowd", 0)),
        }
        for number, entry in enumerate(ground_truth["annotations"], start=1)
    ]
    # The sizes of images play no part in box scoring.
    images = [{"id": image["id"], "width": 0, "height": 0} for image in ground_truth["images"]]
    categories = [{"id": entry["id"], "name": entry["name"]} for entry in ground_truth["categories"]]
    return {"images": images, "categories": sorted(categories, key=lambda entry: entry["id"]), "annotations": annotations}


def _only_images(ground_truth: dict[str, Any], table: np.ndarray, ids: list[int]) -> tuple[dict[str, Any], np.ndarray]:
    kept = set(ids)
    truth = {
        **ground_truth,
        "images": [image for image in ground_truth["images"] if image["id"] in kept],
        "annotations": [entry for entry in ground_truth["annotations"] if entry["image_id"] in kept],
    }
    return truth, table[np.isin(table[:, 0], np.array(ids, dtype=np.float64))]


def _hotcoco_arrays(truth: dict[str, Any], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import hotcoco

    ground_truth = hotcoco.COCO(truth)
    evaluation = hotcoco.COCOeval(ground_truth, ground_truth.load_res(table), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    arrays: Any = evaluation.eval
    return arrays["precision"], arrays["recall"]


def _pycocotools_arrays(truth: dict[str, Any], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # Not loadRes: it fails on an empty list. These are the fields that it would fill in.
    results = [
        {
            "id": number,
            "image_id": int(row[0]),
            "category_id": int(row[6]),
            "bbox": row[1:5],
            "area": row[3] * row[4],
            "iscrowd": 0,
            "score": row[5],
        }
        for number, row in enumerate(table.tolist(), start=1)
    ]
    ground_truth, predictions = COCO(), COCO()
    ground_truth.dataset = truth
    predictions.dataset = {**truth, "annotations": results}
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth.createIndex()
        predictions.createIndex()
        evaluation = COCOeval(ground_truth, predictions, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


_ENGINES = {"hotcoco": _hotcoco_arrays, "pycocotools": _pycocotools_arrays}


def _summary(precision: np.ndarray, recall: np.ndarray) -> CocoMetrics:
    return CocoMetrics(
        ap=_mean(precision[..., ALL, TOP_100]),
        ap50=_mean(precision[IOU_50, ..., ALL, TOP_100]),
        ap75=_mean(precision[IOU_75, ..., ALL, TOP_100]),
        ap_small=_mean(precision[..., SMALL, TOP_100]),
        ap_medium=_mean(precision[..., MEDIUM, TOP_100]),
        ap_large=_mean(precision[..., LARGE, TOP_100]),
        ar_1=_mean(recall[..., ALL, TOP_1]),
        ar_10=_mean(recall[..., ALL, TOP_10]),
        ar_100=_mean(recall[..., ALL, TOP_100]),
        ar_small=_mean(recall[..., SMALL, TOP_100]),
        ar_medium=_mean(recall[..., MEDIUM, TOP_100]),
        ar_large=_mean(recall[..., LARGE, TOP_100]),
    )


def _by_class(truth: dict[str, Any], precision: np.ndarray) -> tuple[ClassMetrics, ...]:
    counts = dict.fromkeys((entry["id"] for entry in truth["categories"]), 0)
    for entry in truth["annotations"]:
        counts[entry["category_id"]] += not entry["iscrowd"]
    return tuple(
        ClassMetrics(
            name=entry["name"],
            ap=_mean(precision[:, :, index, ALL, TOP_100]),
            ap50=_mean(precision[IOU_50, :, index, ALL, TOP_100]),
            ground_truths=counts[entry["id"]],
        )
        for index, entry in enumerate(truth["categories"])
    )


def _mean(values: np.ndarray) -> float | None:
    """Mean over the defined entries; -1 marks a class without ground truth in the area range."""
    defined = values[values > -1]
    # A mean of ones may exceed 1 by rounding.
    return min(float(np.mean(defined)), 1.0) if defined.size else None
