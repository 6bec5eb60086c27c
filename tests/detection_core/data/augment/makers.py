"""A scene with one white object, and the augmentation of a single image."""

from __future__ import annotations

import numpy as np

from detection_core.data.augment.compose import augment
from detection_core.data.augment.sample import Sample
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

POLICY = InputPolicy(height=128, width=160, mean=(0, 0, 0), std=(1, 1, 1))
NONE = Augmentation(flip_horizontal=0, flip_vertical=0, color=0, scale_min=1, scale_max=1)


def scene(width=320, height=256, box=(80, 60, 140, 150)):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image, np.array([box], dtype=np.float64), np.array([1])


def painted(colour, boxes=(), *, width=320, height=256):
    """A picture of one colour with objects of class 1."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:] = colour
    return Sample.of(pixels, np.array(boxes, dtype=np.float64), np.ones(len(boxes), dtype=np.int64))


def no_other(rng):
    raise AssertionError("another image was asked for, where none is mixed in")


def alone(image, boxes, labels, policy, settings, seed):
    """Augment a picture that is not mixed with others."""
    return augment(Sample.of(image, boxes, labels), no_other, policy, settings, np.random.default_rng(seed))
