"""Generated ground truth for the tests of assignment."""

from __future__ import annotations

import numpy as np

from detection_core.assignment.truth import Truth


def drawn_truth(*, seed: int, images: int = 6, most: int = 14, side: int = 256, least: float = 3.0, largest: float = 200.0) -> Truth:
    """Boxes of all sizes and shapes inside an input of `side` pixels; some images have none, some boxes are copies of others."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most, images)
    counts[0] = 0
    image = np.repeat(np.arange(images), counts)
    spans = np.exp(rng.uniform(np.log(least), np.log(largest), (len(image), 2)))
    spans = np.minimum(spans, side)
    corner = rng.uniform(0, 1, (len(image), 2)) * (side - spans)
    boxes = np.concatenate([corner, corner + spans], axis=1)
    # Whole pixels meet the anchors' borders and give equal overlaps; every seventh box stands twice.
    boxes[::3] = np.clip(np.round(boxes[::3]), 0, side)
    boxes[::3, 2:] = np.maximum(boxes[::3, 2:], boxes[::3, :2] + 1)
    for place in range(7, len(boxes), 7):
        if image[place] == image[place - 1]:
            boxes[place] = boxes[place - 1]
    return truth_of(boxes, image, images)


def truth_of(boxes, image=None, images: int = 1) -> Truth:
    """Ground truth whose original images are as large as the input."""
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    image = np.zeros(len(boxes), dtype=np.int64) if image is None else np.asarray(image, dtype=np.int64)
    area = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    return Truth(boxes, image, area, images)


def clustered_truth(spans, *, each: int = 120, side: int = 256, spread: float = 0.05, seed: int = 0) -> Truth:
    """Boxes around the given widths and heights, ten in an image."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(np.asarray(spans, dtype=np.float64), each, axis=0)
    sizes = rng.permutation(sizes * np.exp(rng.normal(0, spread, sizes.shape)))
    corner = rng.uniform(0, 1, sizes.shape) * (side - sizes)
    image = np.arange(len(sizes)) // 10
    return truth_of(np.concatenate([corner, corner + sizes], axis=1), image, int(image[-1]) + 1)
