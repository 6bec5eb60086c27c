"""Ground truth as the network sees it, its sizes, and a seeded sample of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# COCO's sizes, by area in the original image.
SIZES = ("small", "medium", "large")
_SIZE_LIMITS = (32.0**2, 96.0**2)
# By the square root of the area in the network's input, pixels.
SIDES = ("<8", "8-16", "16-32", "32-96", ">=96")
_SIDE_LIMITS = (8.0, 16.0, 32.0, 96.0)


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of a split that a training learns from.

    `boxes` float32 [n, 4] xyxy in pixels of the network input; `image` int64 [n], 0-based and ascending; `area` float64 [n] in square
    pixels of the original image; `images` counts those without an object too.
    """

    boxes: np.ndarray
    image: np.ndarray
    area: np.ndarray
    images: int

    def __len__(self) -> int:
        return len(self.boxes)

    def sizes(self) -> np.ndarray:
        """Return the index into SIZES of each object."""
        return np.digitize(self.area, _SIZE_LIMITS)

    def sides(self) -> np.ndarray:
        """Return the index into SIDES of each object."""
        spans = (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.float64)
        return np.digitize(np.sqrt(spans.prod(axis=1)), _SIDE_LIMITS)

    def of_images(self, chosen: np.ndarray) -> Truth:
        """Return the objects of the images whose numbers are in `chosen`, which are numbered anew in their order."""
        numbers = np.full(self.images, -1, dtype=np.int64)
        numbers[np.sort(chosen)] = np.arange(len(chosen))
        kept = numbers[self.image] >= 0
        return Truth(self.boxes[kept], numbers[self.image[kept]], self.area[kept], len(chosen))


def sample_images(image: np.ndarray, images: int, *, limit: int, seed: int) -> np.ndarray:
    """Return the numbers of whole images, drawn by `seed`, that hold at most `limit` objects together, but at least one image.

    Args:
        image: int64 [n], the image of each object.
        images: how many there are.
    """
    if len(image) <= limit:
        return np.arange(images)
    order = np.random.default_rng(seed).permutation(images)
    together = np.cumsum(np.bincount(image, minlength=images)[order])
    return order[: max(1, int(np.searchsorted(together, limit, side="right")))]
