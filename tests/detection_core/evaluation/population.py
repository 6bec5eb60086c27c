"""A generated population of images with detectors whose skill is set: what an AP would be if there were no chance in the test images.

Images differ in difficulty, objects in size and in how easy they are; all detectors share these, and each has its own luck. Nothing is
drawn as pixels: a detector is a table of boxes and scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT = 640, 480
CLASS_SHARES = (0.4, 0.3, 0.2, 0.1)
# As many as COCO has in the mean (860,001 boxes on 117,266 images of train2017).
OBJECTS_PER_IMAGE = 7.3
FALSE_PER_IMAGE = 5.5
IMAGE_SPREAD = 0.5


@dataclass(frozen=True, eq=False)
class Population:
    """Objects of images 0 to `images` - 1: `image`, `label` int64 [n], `boxes` xywh [n, 4], `ease` [n]; `image_ease` [images]."""

    images: int
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    ease: np.ndarray
    image_ease: np.ndarray


def make_population(images: int, *, seed: int) -> Population:
    """Draw the objects."""
    rng = np.random.default_rng(seed)
    image_ease = rng.normal(0, IMAGE_SPREAD, images)
    image = np.repeat(np.arange(images), rng.poisson(OBJECTS_PER_IMAGE, images))
    count = len(image)
    boxes, log_side = _boxes(rng, count)
    ease = image_ease[image] + rng.normal(0, 1, count) + 0.6 * (log_side - 3.7)
    label = rng.choice(len(CLASS_SHARES), count, p=CLASS_SHARES)
    return Population(images, image, label, boxes, ease, image_ease)


def detect(population: Population, *, skill: float, seed: int) -> np.ndarray:
    """Return detections on all images, float64 [m, 7] rows of image id (from 1), x, y, w, h, score, category id (from 1).

    An object is found where skill, ease and luck exceed a bar; a box is the looser the harder the object; some have a wrong class, some
    are found twice; the rest are false alarms, more where the image is hard.
    """
    rng = np.random.default_rng(seed)
    certainty = skill + population.ease + rng.normal(0, 1, len(population.image))
    found = np.flatnonzero(certainty > -1)
    found = np.concatenate([found, found[rng.random(len(found)) < 0.05]])
    sure = certainty[found] + rng.normal(0, 0.3, len(found))
    loose = 0.08 * np.exp(-0.25 * sure)[:, None]
    boxes = population.boxes[found]
    boxes = boxes + rng.normal(0, 1, boxes.shape) * loose * np.tile(boxes[:, 2:], 2)
    confused = rng.random(len(found)) < 0.05
    labels = np.where(confused, rng.choice(len(CLASS_SHARES), len(found)), population.label[found])
    false_image = np.repeat(np.arange(population.images), rng.poisson(FALSE_PER_IMAGE * np.exp(-0.5 * population.image_ease)))
    false_boxes, _ = _boxes(rng, len(false_image))
    false_labels = rng.choice(len(CLASS_SHARES), len(false_image), p=CLASS_SHARES)
    scores = 1 / (1 + np.exp(-np.concatenate([sure, rng.normal(-1.5, 1, len(false_image))])))
    boxes = np.concatenate([boxes, false_boxes])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    image = np.concatenate([population.image[found], false_image])
    table = np.column_stack([image + 1, boxes, scores, np.concatenate([labels, false_labels]) + 1])
    return table[np.argsort(image, kind="stable")]


def ground_truth_of(population: Population, images: np.ndarray) -> dict[str, Any]:
    """Return COCO ground truth of some images (places, each once)."""
    kept = np.flatnonzero(np.isin(population.image, images))
    columns = (population.image[kept] + 1, population.label[kept] + 1, population.boxes[kept])
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for number, (image, category, box) in enumerate(zip(*(column.tolist() for column in columns), strict=True), start=1)
    ]
    return {
        "images": [{"id": image + 1, "width": WIDTH, "height": HEIGHT} for image in images.tolist()],
        "categories": [{"id": label + 1, "name": f"class {label + 1}"} for label in range(len(CLASS_SHARES))],
        "annotations": annotations,
    }


def on_images(table: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the detections of some images."""
    return table[np.isin(table[:, 0], images + 1)]


def exchanged(first: np.ndarray, second: np.ndarray, images: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two tables that swap the detections of every image by the toss of a coin: whatever they were, they are now equally good."""
    swapped = np.random.default_rng(seed).random(images + 1) < 0.5
    rows, others = swapped[first[:, 0].astype(np.int64)], swapped[second[:, 0].astype(np.int64)]
    return np.concatenate([first[~rows], second[others]]), np.concatenate([second[~others], first[rows]])


def _boxes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    log_side = np.clip(rng.normal(3.7, 0.8, count), np.log(6), np.log(280))
    aspect = np.exp(rng.normal(0, 0.25, count))
    size = np.exp(log_side)[:, None] * np.column_stack([aspect, 1 / aspect])
    corner = rng.random((count, 2)) * np.maximum(np.array([WIDTH, HEIGHT]) - size, 1)
    return np.column_stack([corner, size]), log_side
