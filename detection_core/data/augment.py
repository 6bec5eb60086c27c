"""Random changes of a training image: zoom with a shift, flips, colour. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import numpy as np
from PIL import Image

from detection_core.data.preprocess import CHANNELS, REDUCING_GAP, fitted_size
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

# A box stays a target while this part of it is still in view and it is at least this many input pixels wide and high.
MIN_VISIBLE = 0.25
MIN_SIDE = 1.0
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def augment(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    policy: InputPolicy,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zoom, shift, flip and recolour an image, then normalise it and order its channels as `preprocess` does.

    The zoom is relative to the size that `preprocess` would give the image: above 1 a random part is cut out, below 1 the image lies at
    a random place on the padding.

    Args:
        image: uint8 [height, width, 3] RGB.
        boxes: [n, 4] xyxy in image pixels.
        labels: [n].

    Returns:
        Input float32 [3, policy.height, policy.width]; boxes float32 [m, 4] xyxy in input pixels, m <= n; their labels int64 [m].
    """
    canvas, boxes = _zoomed(image, np.asarray(boxes, dtype=np.float64).reshape(-1, 4), policy, augmentation, rng)
    canvas, boxes = _flipped(canvas, boxes, augmentation, rng)
    kept, boxes = _in_view(boxes, policy)
    planes = _recoloured(canvas, augmentation, rng, CHANNELS[policy.channel_order])
    mean = np.array(policy.mean, dtype=np.float32)[:, None, None]
    std = np.array(policy.std, dtype=np.float32)[:, None, None]
    planes *= 1 / (255 * std)
    planes -= mean / std
    return planes, boxes.astype(np.float32), np.asarray(labels, dtype=np.int64)[kept]


def _zoomed(
    image: np.ndarray, boxes: np.ndarray, policy: InputPolicy, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a canvas uint8 [H, W, 3] and the boxes on it, not yet clipped."""
    height, width = image.shape[:2]
    fitted_width, fitted_height = fitted_size(width, height, policy)
    zoom = float(np.exp(rng.uniform(np.log(augmentation.scale_min), np.log(augmentation.scale_max))))
    full_width, full_height = max(round(fitted_width * zoom), 1), max(round(fitted_height * zoom), 1)
    scale_x, scale_y = full_width / width, full_height / height
    # The offset of the zoomed image on the canvas: negative where it is larger than the canvas and a part is cut out.
    shift_x = int(rng.integers(min(policy.width - full_width, 0), max(policy.width - full_width, 0) + 1))
    shift_y = int(rng.integers(min(policy.height - full_height, 0), max(policy.height - full_height, 0) + 1))
    left, top = max(shift_x, 0), max(shift_y, 0)
    right, bottom = min(shift_x + full_width, policy.width), min(shift_y + full_height, policy.height)
    region = ((left - shift_x) / scale_x, (top - shift_y) / scale_y, (right - shift_x) / scale_x, (bottom - shift_y) / scale_y)
    region = (region[0], region[1], min(region[2], width), min(region[3], height))
    part = Image.fromarray(image).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=region, reducing_gap=REDUCING_GAP)
    canvas = np.full((policy.height, policy.width, 3), policy.pad_value, dtype=np.uint8)
    canvas[top:bottom, left:right] = np.asarray(part)
    return canvas, boxes * [scale_x, scale_y, scale_x, scale_y] + [shift_x, shift_y, shift_x, shift_y]


def _flipped(canvas: np.ndarray, boxes: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    height, width = canvas.shape[:2]
    horizontal, vertical = rng.random(2)
    if horizontal < augmentation.flip_horizontal:
        canvas = canvas[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if vertical < augmentation.flip_vertical:
        canvas = canvas[::-1]
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    return canvas, boxes


def _in_view(boxes: np.ndarray, policy: InputPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Return which boxes stay (bool [n]) and those boxes, clipped to the canvas."""
    clipped = np.clip(boxes, 0, [policy.width, policy.height, policy.width, policy.height])
    sides = clipped[:, 2:] - clipped[:, :2]
    full_area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = (sides.min(axis=1, initial=np.inf) >= MIN_SIDE) & (sides.prod(axis=1) >= MIN_VISIBLE * full_area)
    return kept, clipped[kept]


def _recoloured(canvas: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, channels: tuple[int, ...]) -> np.ndarray:
    """Return float32 [3, H, W] in 0..255 with brightness, contrast and saturation changed, each by one factor for the image.

    `channels` tells which colour of RGB stands at each place of the result.
    """
    brightness, contrast, saturation = 1 + augmentation.color * rng.uniform(-1, 1, size=3).astype(np.float32)
    height, width = canvas.shape[:2]
    pixels = canvas.reshape(-1, 3).astype(np.float32).T  # [3, HW]
    # One linear map: saturation mixes with the pixel's own grey, contrast with the mean grey of the image, brightness scales.
    mixing = brightness * contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * _LUMA[None, :])
    offset = brightness * (1 - contrast) * float(_LUMA @ pixels.mean(axis=1))
    planes = mixing[list(channels)] @ pixels + np.float32(offset)
    return np.clip(planes, 0, 255, out=planes).reshape(3, height, width)
