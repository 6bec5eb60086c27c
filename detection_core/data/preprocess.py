"""From an image to the network's input and back: the one preprocess that every backend, evaluation and benchmark uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detection_core.schemas.manifest import InputPolicy

# Pillow first shrinks by a whole factor down to this many times the target: a fast start for large photographs.
REDUCING_GAP = 2.0
# Which channel of an RGB image stands at each place of the input.
CHANNELS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}


@dataclass(frozen=True)
class Placement:
    """Where an image of `width` x `height` pixels lies in the network's input: at the top left, scaled by `scale_x`, `scale_y`."""

    scale_x: float
    scale_y: float
    width: int
    height: int

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Turn boxes [n, 4] xyxy in image pixels into input pixels."""
        return boxes * np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=boxes.dtype)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Turn boxes [n, 4] xyxy in input pixels into image pixels, clipped to the image."""
        scaled = boxes / np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=boxes.dtype)
        limits = np.array([self.width, self.height, self.width, self.height], dtype=boxes.dtype)
        return np.clip(scaled, 0, limits)


def preprocess(image: np.ndarray, policy: InputPolicy) -> tuple[np.ndarray, Placement]:
    """Resize and normalise an image and order its channels as `policy` says.

    Args:
        image: uint8 [height, width, 3] RGB.

    Returns:
        The input, float32 [3, policy.height, policy.width], C-contiguous, and the placement of the image in it.
    """
    height, width = image.shape[:2]
    new_width, new_height = fitted_size(width, height, policy)
    if (new_width, new_height) != (width, height):
        image = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP))
    table, source = normalisation_table(policy), CHANNELS[policy.channel_order]
    out = np.empty((3, policy.height, policy.width), dtype=np.float32)
    for channel in range(3):
        plane = out[channel]
        plane[:new_height, :new_width] = table[channel][image[:, :, source[channel]]]
        plane[new_height:] = table[channel, policy.pad_value]
        plane[:new_height, new_width:] = table[channel, policy.pad_value]
    return out, Placement(new_width / width, new_height / height, width, height)


def fitted_size(width: int, height: int, policy: InputPolicy) -> tuple[int, int]:
    """Return (width, height) that an image takes inside the input: the whole input for `stretch`, the largest fit for `letterbox`."""
    if policy.resize == "stretch":
        return policy.width, policy.height
    scale = min(policy.width / width, policy.height / height)
    return min(max(round(width * scale), 1), policy.width), min(max(round(height * scale), 1), policy.height)


def normalisation_table(policy: InputPolicy) -> np.ndarray:
    """Return float32 [3, 256]: the normalised value of every byte in every channel of the input."""
    mean = np.array(policy.mean, dtype=np.float64)[:, None]
    std = np.array(policy.std, dtype=np.float64)[:, None]
    return ((np.arange(256) / 255.0 - mean) / std).astype(np.float32)
