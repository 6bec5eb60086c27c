"""The way of a training image: what is drawn, in which order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detection_core.data.augment.colour import blurred, recoloured
from detection_core.data.augment.geometric import flipped, iou_crop, native_tile, zoomed
from detection_core.data.augment.mixing import copy_paste, mixup, mosaic
from detection_core.data.augment.sample import Sample
from detection_core.data.preprocess import CHANNELS
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

# Draws another image of the training set with the generator it is given.
Other = Callable[[np.random.Generator], Sample]


def augment(
    sample: Sample, other: Other, policy: InputPolicy, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change an image as the recipe says, then normalise it and order its channels as `preprocess` does.

    Nothing is drawn for what is off, so a recipe gives the same images when the library learns a new change.

    Returns:
        Input float32 [3, policy.height, policy.width]; boxes float32 [m, 4] xyxy in input pixels; their labels int64 [m].
    """

    def drawn(probability: float) -> bool:
        return probability > 0 and rng.random() < probability

    def cut(one: Sample) -> Sample:
        one = native_tile(one, policy, rng) if drawn(augmentation.tile) else one
        return iou_crop(one, rng) if drawn(augmentation.iou_crop) else one

    def canvas_of(one: Sample) -> Sample:
        if drawn(augmentation.mosaic):
            return mosaic([cut(one), *(cut(other(rng)) for _ in range(3))], policy, augmentation, rng)
        return zoomed(cut(one), policy, augmentation, rng, width=policy.width, height=policy.height)

    canvas = canvas_of(sample)
    if drawn(augmentation.copy_paste):
        source = zoomed(cut(other(rng)), policy, augmentation, rng, width=policy.width, height=policy.height)
        canvas = copy_paste(canvas, source, rng)
    if drawn(augmentation.mixup):
        canvas = mixup(canvas, canvas_of(other(rng)), rng)
    canvas = flipped(canvas, augmentation, rng)
    planes = recoloured(blurred(canvas.pixels, augmentation, rng), augmentation, rng, CHANNELS[policy.channel_order])
    mean = np.array(policy.mean, dtype=np.float32)[:, None, None]
    std = np.array(policy.std, dtype=np.float32)[:, None, None]
    planes *= 1 / (255 * std)
    planes -= mean / std
    return planes, canvas.boxes.astype(np.float32), canvas.labels
