"""An image with its objects on its way through the augmentation, and the one rule by which an object stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# A box stays a target while this part of the whole object is still in view ...
MIN_VISIBLE = 0.25
# ... and it is at least this many input pixels wide and high.
MIN_SIDE = 1.0


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture and what is on it.

    pixels: uint8 [height, width, 3] RGB.
    boxes: float64 [n, 4] xyxy in its pixels.
    labels: int64 [n].
    visible: float64 [n], the part of each whole object that is in view, 0..1.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    visible: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> Sample:
        """Return an untouched image with whole objects."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        return cls(pixels, boxes, np.asarray(labels, dtype=np.int64), np.ones(len(boxes)))

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]

    def choose(self, kept: np.ndarray) -> Sample:
        """Return it with the objects of a bool mask [n] alone."""
        return replace(self, boxes=self.boxes[kept], labels=self.labels[kept], visible=self.visible[kept])

    def in_view(self, left: float, top: float, right: float, bottom: float, *, min_side: float) -> Sample:
        """Clip the boxes to a rectangle of the picture and drop those of which too little is left; the pixels stay."""
        clipped = np.clip(self.boxes, [left, top, left, top], [right, bottom, right, bottom])
        sides = clipped[:, 2:] - clipped[:, :2]
        area = np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1)
        visible = self.visible * sides.prod(axis=1) / np.maximum(area, np.finfo(np.float64).tiny)
        kept = (sides.min(axis=1, initial=np.inf) >= min_side) & (visible >= MIN_VISIBLE)
        return replace(self, boxes=clipped, visible=visible).choose(kept)

    def moved(self, x: float, y: float) -> Sample:
        """Shift the boxes; the pixels stay."""
        return replace(self, boxes=self.boxes + np.array([x, y, x, y]))

    def cropped(self, left: int, top: int, width: int, height: int) -> Sample:
        """Return a part of the picture, as a view of its pixels."""
        seen = self.in_view(left, top, left + width, top + height, min_side=np.finfo(np.float64).tiny).moved(-left, -top)
        return replace(seen, pixels=self.pixels[top : top + height, left : left + width])


def joined(pixels: np.ndarray, *parts: Sample) -> Sample:
    """Return a picture with the objects of several."""
    boxes, labels, visible = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "labels", "visible"))
    return Sample(pixels, boxes, labels, visible)
