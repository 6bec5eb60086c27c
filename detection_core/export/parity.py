"""How far an exported file's raw outputs are from those of the checkpoint it came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from detection_core.backends.registry import get_backend
from detection_core.data.preprocess import preprocess
from detection_core.models.adapter import DetectorAdapter
from detection_core.schemas.manifest import InputPolicy, Manifest

Raw = tuple[np.ndarray, ...]
LEAST_SCORE = 0.01  # detections of a two-stage graph below it are noise whose order means nothing


def max_abs_difference(
    adapter: DetectorAdapter, model: nn.Module, manifest: Manifest, path: Path, *, threads: int, batches: Sequence[np.ndarray]
) -> float:
    """Run the network in torch and its exported file in ONNX Runtime and return the largest difference of a raw output.

    Dense heads are compared value by value. Where NMS is in the graph, detections are matched first, since two runtimes may
    rank equal scores differently; one with no counterpart counts as its score.

    Args:
        batches: float32 [1, 3, height, width] each, preprocessed.

    Raises:
        RuntimeError: an output of the exported file is not finite, or has another shape than the network's.
    """
    session = get_backend("onnxruntime").load(path, manifest, device="cpu", threads=threads)
    differences = [0.0]
    try:
        for batch in batches:
            with torch.inference_mode():
                expected = tuple(output.cpu().numpy() for output in adapter.forward(model, torch.from_numpy(batch)))
            found = session.run(batch)
            if not all(np.isfinite(output).all() for output in found):
                raise RuntimeError("the exported graph returns numbers that are not finite; look at the checkpoint's weights")
            differences.append(detections_difference(expected, found) if manifest.nms_in_graph else dense_difference(expected, found))
    finally:
        session.close()
    return max(differences)


def dense_difference(expected: Raw, found: Raw) -> float:
    """Return the largest difference of two tuples of equal shapes; raises RuntimeError where the shapes differ."""
    shapes = [output.shape for output in expected], [output.shape for output in found]
    if shapes[0] != shapes[1]:
        raise RuntimeError(f"the exported graph returns shapes {shapes[1]}, the checkpoint {shapes[0]}")
    return max(float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)) for a, b in zip(expected, found, strict=True))


def detections_difference(expected: Raw, found: Raw) -> float:
    """Return the largest difference between matched detections of one image.

    Args:
        expected: boxes [1, n, 4], scores [1, n], labels [1, n].
        found: the same of the other runtime; n may differ.
    """
    return max(_one_way(expected, found), _one_way(found, expected))


def _one_way(first: Raw, second: Raw) -> float:
    """Give each detection of `first` its nearest of the same label in `second`, in box and score together."""
    boxes, scores, labels = (output[0] for output in first)
    other_boxes, other_scores, other_labels = (output[0] for output in second)
    worst = 0.0
    for box, score, label in zip(boxes, scores, labels, strict=True):
        if score < LEAST_SCORE:
            continue
        same = other_labels == label
        gaps = np.maximum(np.abs(other_boxes[same] - box).max(axis=1), np.abs(other_scores[same] - score))
        # What one runtime's NMS kept and the other's dropped differs by no more than being there or not.
        worst = max(worst, min(float(gaps.min(initial=np.inf)), float(score)))
    return worst


def generated_batches(policy: InputPolicy, *, count: int, seed: int = 0) -> list[np.ndarray]:
    """Return network inputs float32 [1, 3, height, width] of generated pictures: soft ground, some discs and boxes on it."""
    rng = np.random.default_rng(seed)
    return [preprocess(_picture(policy.height, policy.width, rng), policy)[0][None] for _ in range(count)]


def _picture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3))
    for channel in range(3):
        fx, fy, phase = rng.uniform((1, 1, 0), (5, 5, 6))
        image[..., channel] = 110 + 50 * np.sin(fx * columns / width * 6 + phase) * np.cos(fy * rows / height * 6)
    for _ in range(12):
        y, x, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.04, 0.25) * min(height, width)
        if rng.random() < 0.5:
            inside = (rows - y) ** 2 + (columns - x) ** 2 < size**2
        else:
            inside = (np.abs(rows - y) < size) & (np.abs(columns - x) < size * rng.uniform(0.4, 1.6))
        image[inside] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
