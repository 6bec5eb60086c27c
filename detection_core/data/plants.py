"""Drawing of single plants from above: leaves as ellipses around a centre, with an edge that fades over one pixel.

Crop and weed differ by the shape and number of leaves; their colours overlap. All geometry is in metres until it is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CROP, WEED = 0, 1


@dataclass(frozen=True)
class Plant:
    """One plant on the ground: centre in metres, leaves as an array [k, 4] of direction (radians), length, width, base offset (metres)."""

    x_m: float
    y_m: float
    label: int
    leaves: np.ndarray
    colour: tuple[float, float, float]
    midrib: float

    @property
    def reach_m(self) -> float:
        """Distance from the centre to the farthest leaf tip."""
        return float((self.leaves[:, 1] + self.leaves[:, 3]).max())


@dataclass(frozen=True)
class Patch:
    """A drawn plant: `alpha` float32 [h, w] in 0..1, `rgb` float32 [h, w, 3], with the left and top pixel in the image."""

    left: int
    top: int
    alpha: np.ndarray
    rgb: np.ndarray


def crop_plant(x_m: float, y_m: float, *, radius_m: float, colour: tuple[float, float, float], rng: np.random.Generator) -> Plant:
    """Return a crop plant: two to four pairs of broad leaves, each pair across from the last, the youngest short and on top."""
    turn = rng.uniform(0, math.pi)
    leaves = []
    pairs = int(rng.integers(2, 5))
    for pair in range(pairs):
        size = radius_m * (1.0 - 0.5 * pair / pairs)
        for side in range(2):
            angle = turn + side * math.pi + pair * (math.pi / 2 + rng.uniform(-0.35, 0.35)) + rng.uniform(-0.25, 0.25)
            length = size * rng.uniform(0.8, 1.0)
            leaves.append((angle, length, length * rng.uniform(0.42, 0.62), 0.04 * size))
    return Plant(x_m, y_m, CROP, np.array(leaves), colour, midrib=float(rng.uniform(0.05, 0.2)))


def weed_plant(x_m: float, y_m: float, *, radius_m: float, colour: tuple[float, float, float], rng: np.random.Generator) -> Plant:
    """Return a weed of one of three habits: a grass of narrow blades, a rosette of many leaves, or a few leaves much like the crop's."""
    habit = rng.choice(3, p=(0.44, 0.44, 0.12))
    count = int((rng.integers(4, 10), rng.integers(7, 13), rng.integers(3, 6))[habit])
    low, high = ((0.08, 0.18), (0.26, 0.42), (0.45, 0.75))[habit]
    angles = np.arange(count) * 2 * math.pi / count + rng.uniform(0, 2 * math.pi) + rng.normal(0, (0.6, 0.2, 0.3)[habit], count)
    lengths = radius_m * rng.uniform((0.5, 0.7, 0.7)[habit], 1.0, count)
    leaves = np.stack([angles, lengths, lengths * rng.uniform(low, high, count), np.full(count, 0.03 * radius_m)], axis=1)
    return Plant(x_m, y_m, WEED, leaves, colour, midrib=float(rng.uniform(-0.05, 0.15)))


def draw(plant: Plant, *, x: float, y: float, px_per_m: float, sun: tuple[float, float]) -> Patch:
    """Draw a plant whose centre lies at (x, y) in pixels; `sun` is the direction of light, which leaves facing it reflect more."""
    reach = plant.reach_m * px_per_m + 1.5
    left, top = math.floor(x - reach), math.floor(y - reach)
    width, height = math.ceil(x + reach) - left, math.ceil(y + reach) - top
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(left + 0.5 - x)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(top + 0.5 - y)
    alpha = np.zeros((height, width), dtype=np.float32)
    shade = np.ones((height, width), dtype=np.float32)
    for angle, length_m, width_m, offset_m in plant.leaves.tolist():
        half_length, half_width = length_m * px_per_m / 2, max(width_m * px_per_m / 2, 0.45)
        cos, sin = math.cos(angle), math.sin(angle)
        along = columns * np.float32(cos) + rows * np.float32(sin) - np.float32(half_length + offset_m * px_per_m)
        across = rows * np.float32(cos) - columns * np.float32(sin)
        radius = np.sqrt((along / np.float32(half_length)) ** 2 + (across / np.float32(half_width)) ** 2)
        leaf = np.clip((1 - radius) * np.float32(half_width) + np.float32(0.5), 0, 1)
        light = 1.0 + 0.18 * (cos * sun[0] + sin * sun[1])
        rib = np.float32(plant.midrib) * np.clip(1 - np.abs(across) / np.float32(0.25 * half_width + 0.3), 0, 1)
        leaf_shade = np.float32(light) * (1 + rib) * (1 - np.float32(0.22) * radius)
        shade += leaf * (leaf_shade - shade)
        np.maximum(alpha, leaf, out=alpha)
    return Patch(left, top, alpha, shade[:, :, None] * np.array(plant.colour, dtype=np.float32))
