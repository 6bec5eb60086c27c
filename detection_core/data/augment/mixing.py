"""Several images in one: mosaic, mixup, copy-paste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from detection_core.data.augment.geometric import zoomed
from detection_core.data.augment.sample import MIN_VISIBLE, Sample, joined
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

# Zhang et al. 2019 (Bag of Freebies), section 3.1: detection mixes with lambda from Beta(1.5, 1.5), so that both images can be seen.
MIXUP_BETA = 1.5
PASTED_SHARE = 0.5
# The border over which a pasted rectangle fades out, in parts of its shorter side, and at least in pixels.
FADE_SHARE, FADE_LEAST = 0.1, 2.0


def mosaic(four: Sequence[Sample], policy: InputPolicy, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Return a canvas of four images around a random centre in its middle half (Bochkovskiy et al. 2020, section 3.3).

    Each image gets a zoom of its own, as it would get alone, so objects keep the sizes they have without mosaic; its quarter shows a
    random part of it.
    """
    x, y = (int(rng.integers(side // 4, side - side // 4 + 1)) for side in (policy.width, policy.height))
    corners = ((0, 0, x, y), (x, 0, policy.width, y), (0, y, x, policy.height), (x, y, policy.width, policy.height))
    canvas = np.empty((policy.height, policy.width, 3), dtype=np.uint8)
    parts = []
    for sample, (left, top, right, bottom) in zip(four, corners, strict=True):
        part = zoomed(sample, policy, augmentation, rng, width=right - left, height=bottom - top)
        canvas[top:bottom, left:right] = part.pixels
        parts.append(part.moved(left, top))
    return joined(canvas, *parts)


def mixup(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Return two canvases laid over each other, with the objects of both (Zhang et al. 2018, equation 1).

    The paper mixes the labels with the weights of the images; in detection the objects of both count whole (Zhang et al. 2019).
    """
    share = float(rng.beta(MIXUP_BETA, MIXUP_BETA))
    blend = Image.blend(Image.fromarray(first.pixels), Image.fromarray(second.pixels), 1 - share)
    return joined(np.asarray(blend), first, second)


def copy_paste(onto: Sample, source: Sample, rng: np.random.Generator) -> Sample:
    """Return the first canvas with some objects of the second at their places there (Ghiasi et al. 2021, section 3).

    The paper cuts along masks. With boxes alone a rectangle is pasted whose border fades out, so some of its surroundings come along.
    An object that is covered goes by the same rule as one that is cut; its box does not shrink.
    """
    if not len(source.boxes):
        return onto
    chosen = rng.random(len(source.boxes)) < PASTED_SHARE
    chosen[rng.integers(len(chosen))] = True
    source = source.choose(chosen)
    weight = np.zeros((onto.height, onto.width), dtype=np.float32)
    for box in source.boxes:
        np.maximum(weight, _faded(box, onto.width, onto.height), out=weight)
    pixels = onto.pixels + (source.pixels.astype(np.float32) - onto.pixels) * weight[:, :, None]
    left = np.array([1 - _mean_in(weight, box) for box in onto.boxes]).reshape(-1)
    seen = replace(onto, visible=onto.visible * left)
    return joined(np.rint(pixels).astype(np.uint8), seen.choose(seen.visible >= MIN_VISIBLE), source)


def _faded(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return float32 [height, width]: 1 inside the box, falling to 0 over the border around it."""
    border = max(FADE_SHARE * float((box[2:] - box[:2]).min()), FADE_LEAST)
    across, down = (
        np.clip(np.minimum(places - low + border, high + border - places) / border, 0, 1)
        for places, low, high in ((np.arange(width) + 0.5, box[0], box[2]), (np.arange(height) + 0.5, box[1], box[3]))
    )
    return np.outer(down, across).astype(np.float32)


def _mean_in(weight: np.ndarray, box: np.ndarray) -> float:
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return float(weight[top:bottom, left:right].mean())
