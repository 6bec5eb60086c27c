"""What things look like: brightness, contrast, saturation, hue, greyscale, blur and noise."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from detection_core.schemas.recipe import Augmentation

# From RGB to luma and the two axes of colour of NTSC (ITU-R BT.470): turning those turns the hue and keeps the luma.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], dtype=np.float64)
_LUMA = _YIQ[0].astype(np.float32)
# Standard deviations of the blur, in input pixels.
BLUR_SIGMAS = (0.3, 2.0)


def blurred(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 [H, W, 3], blurred by a Gaussian of a drawn width with the probability `blur`."""
    if not augmentation.blur or rng.random() >= augmentation.blur:
        return pixels
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(float(rng.uniform(*BLUR_SIGMAS)))))


def recoloured(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, channels: tuple[int, ...]) -> np.ndarray:
    """Return float32 [3, H, W] in 0..255, each of brightness, contrast, saturation and hue changed by one draw for the image.

    `channels` tells which colour of RGB stands at each place of the result. Noise is drawn for every value of it.
    """
    brightness, contrast, saturation = 1 + augmentation.color * rng.uniform(-1, 1, size=3).astype(np.float32)
    if augmentation.greyscale and rng.random() < augmentation.greyscale:
        saturation = np.float32(0)
    turned = _hue_turn(float(rng.uniform(-augmentation.hue, augmentation.hue))) if augmentation.hue else np.eye(3, dtype=np.float32)
    height, width = pixels.shape[:2]
    values = pixels.reshape(-1, 3).astype(np.float32).T  # [3, HW]
    # One linear map: saturation mixes with the pixel's own grey, contrast with the mean grey of the image, brightness scales.
    mixing = brightness * contrast * (saturation * turned + (1 - saturation) * _LUMA[None, :])
    offset = brightness * (1 - contrast) * float(_LUMA @ values.mean(axis=1))
    planes = mixing[list(channels)] @ values + np.float32(offset)
    if augmentation.noise:
        deviation = np.float32(255 * rng.uniform(0, augmentation.noise))
        planes += deviation * rng.standard_normal(planes.shape, dtype=np.float32)
    return np.clip(planes, 0, 255, out=planes).reshape(3, height, width)


def _hue_turn(part: float) -> np.ndarray:
    """Return float32 [3, 3], the map of RGB that turns the hue by a part of the circle."""
    cosine, sine = np.cos(2 * np.pi * part), np.sin(2 * np.pi * part)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return (np.linalg.inv(_YIQ) @ turn @ _YIQ).astype(np.float32)
