"""Where things are: a tile of a large image, SSD's random crop, zoom with a shift, flips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from detection_core.data.augment.sample import MIN_SIDE, Sample
from detection_core.data.preprocess import REDUCING_GAP, fitted_size
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

# SSD, section 2.2: the overlap that a patch must have with some object; None keeps the whole image.
PATCH_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, None)
# A patch has 0.1 to 1 of the image's area, so about 0.3 to 1 of each side, and at most twice one side in the other.
PATCH_SIDES = (0.3, 1.0)
PATCH_ASPECTS = (0.5, 2.0)
PATCH_TRIALS = 40


def native_tile(sample: Sample, policy: InputPolicy, rng: np.random.Generator) -> Sample:
    """Return a random part of a large image that is as large as the input, so that nothing is shrunk; a small image stays whole."""
    width, height = min(sample.width, policy.width), min(sample.height, policy.height)
    left, top = int(rng.integers(sample.width - width + 1)), int(rng.integers(sample.height - height + 1))
    return sample.cropped(left, top, width, height)


def iou_crop(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a random patch that overlaps some object by at least a drawn IoU, or the whole image (SSD, Liu et al. 2016, section 2.2).

    The paper keeps objects whose centre lies in the patch; here those stay of which MIN_VISIBLE does, as everywhere. A patch that keeps
    none is drawn again; after PATCH_TRIALS the image stays whole.
    """
    wanted = PATCH_OVERLAPS[rng.integers(len(PATCH_OVERLAPS))]
    if wanted is None or not len(sample.boxes):
        return sample
    for _ in range(PATCH_TRIALS):
        shares = rng.uniform(*PATCH_SIDES, size=2)
        width, height = max(int(shares[0] * sample.width), 1), max(int(shares[1] * sample.height), 1)
        left, top = int(rng.integers(sample.width - width + 1)), int(rng.integers(sample.height - height + 1))
        if not PATCH_ASPECTS[0] <= width / height <= PATCH_ASPECTS[1]:
            continue
        if _overlaps(sample.boxes, left, top, width, height).max() >= wanted:
            patch = sample.cropped(left, top, width, height)
            if len(patch.boxes):
                return patch
    return sample


def zoomed(sample: Sample, policy: InputPolicy, augmentation: Augmentation, rng: np.random.Generator, *, width: int, height: int) -> Sample:
    """Return the image at a drawn zoom on a canvas of `width` x `height`.

    The zoom is relative to the size that `preprocess` would give the image. Where the zoomed image is larger than the canvas a random
    part is cut out, where it is smaller it lies at a random place on the padding.
    """
    fitted_width, fitted_height = fitted_size(sample.width, sample.height, policy)
    zoom = float(np.exp(rng.uniform(np.log(augmentation.scale_min), np.log(augmentation.scale_max))))
    full_width, full_height = max(round(fitted_width * zoom), 1), max(round(fitted_height * zoom), 1)
    scale_x, scale_y = full_width / sample.width, full_height / sample.height
    # The offset of the zoomed image on the canvas: negative where it is larger than the canvas and a part is cut out.
    shift_x = int(rng.integers(min(width - full_width, 0), max(width - full_width, 0) + 1))
    shift_y = int(rng.integers(min(height - full_height, 0), max(height - full_height, 0) + 1))
    left, top = max(shift_x, 0), max(shift_y, 0)
    right, bottom = min(shift_x + full_width, width), min(shift_y + full_height, height)
    region = ((left - shift_x) / scale_x, (top - shift_y) / scale_y, (right - shift_x) / scale_x, (bottom - shift_y) / scale_y)
    region = (region[0], region[1], min(region[2], sample.width), min(region[3], sample.height))
    part = Image.fromarray(sample.pixels).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=region, reducing_gap=REDUCING_GAP
    )
    canvas = np.full((height, width, 3), policy.pad_value, dtype=np.uint8)
    canvas[top:bottom, left:right] = np.asarray(part)
    boxes = sample.boxes * [scale_x, scale_y, scale_x, scale_y] + [shift_x, shift_y, shift_x, shift_y]
    return replace(sample, pixels=canvas, boxes=boxes).in_view(0, 0, width, height, min_side=MIN_SIDE)


def flipped(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Mirror the picture left to right, and upside down, each with its probability."""
    horizontal, vertical = rng.random(2)
    pixels, boxes = sample.pixels, sample.boxes
    if horizontal < augmentation.flip_horizontal:
        pixels = pixels[:, ::-1]
        boxes = np.stack([sample.width - boxes[:, 2], boxes[:, 1], sample.width - boxes[:, 0], boxes[:, 3]], axis=1)
    if vertical < augmentation.flip_vertical:
        pixels = pixels[::-1]
        boxes = np.stack([boxes[:, 0], sample.height - boxes[:, 3], boxes[:, 2], sample.height - boxes[:, 1]], axis=1)
    return replace(sample, pixels=pixels, boxes=boxes)


def _overlaps(boxes: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Return the IoU of each box with a rectangle."""
    low, high = np.maximum(boxes[:, :2], [left, top]), np.minimum(boxes[:, 2:], [left + width, top + height])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    return shared / (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + width * height - shared)
