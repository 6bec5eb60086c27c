"""Ground truth and detections of a few boxes, as the tests of this folder write them down, and generated ones of many."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]


def truth(boxes: list[tuple[int, int, Box, int]], *, images: int = 1, classes: int = 1) -> dict[str, Any]:
    """Ground truth from (image, class, xywh, iscrowd) rows."""
    return {
        "images": [{"id": number, "width": 640, "height": 480} for number in range(1, images + 1)],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(1, classes + 1)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3], "iscrowd": crowd}
            for number, (image, category, box, crowd) in enumerate(boxes)
        ],
    }


def found(*rows: tuple[int, int, Box, float]) -> np.ndarray:
    """Detections from (image, class, xywh, score) rows."""
    return np.array([(image, *box, score, category) for image, category, box, score in rows], dtype=np.float64).reshape(-1, 7)


def generated(seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """A random case: crowds, empty images, equal scores, jittered hits, now and then over 100 detections in an image."""
    rng = random.Random(seed)
    images, classes = rng.randint(1, 6), rng.randint(1, 4)
    boxes, rows = [], []
    for image in range(1, images + 1):
        for _ in range(rng.choice([0, 1, 5, 20])):
            side = rng.choice([10, 40, 150])
            box = (rng.uniform(0, 400), rng.uniform(0, 300), rng.uniform(0.5, 1.5) * side, rng.uniform(0.5, 1.5) * side)
            category = rng.randint(1, classes)
            boxes.append((image, category, box, int(rng.random() < 0.15)))
            for _ in range(rng.choice([0, 1, 1, 2])):
                hit = tuple(value + rng.gauss(0, 0.06 * side) for value in box[:2]) + tuple(
                    value * rng.uniform(0.8, 1.25) for value in box[2:]
                )
                rows.append((image, category if rng.random() < 0.9 else rng.randint(1, classes), hit, round(rng.random(), 1)))
        for _ in range(rng.choice([0, 3, 130])):
            noise = (rng.uniform(0, 500), rng.uniform(0, 400), rng.uniform(1, 100), rng.uniform(1, 100))
            rows.append((image, rng.randint(1, classes), noise, round(rng.random(), 2)))
    return truth(boxes, images=images, classes=classes), found(*rows)
