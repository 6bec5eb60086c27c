"""Boxes over an image: plain shapes for a template to draw as SVG in the image's own pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.datasets.archive import StoredImage
from webapp.datasets.selectors import COLOURS

LABELS_DRAWN = 12


@dataclass(frozen=True)
class DrawnBox:
    """A rectangle and its label in image pixels; `colour` is a slot of the style sheet (box-0 to box-7)."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    label: str
    label_x: float
    label_y: float
    crowd: bool


@dataclass(frozen=True)
class DrawnImage:
    """An image with its boxes, and what a reader who cannot see it is told."""

    image: StoredImage
    boxes: tuple[DrawnBox, ...]
    font_size: float
    counts: tuple[tuple[str, int, int], ...]

    @property
    def alt(self) -> str:
        """Say what stands on the image."""
        if not self.boxes:
            return f"{self.image.file}, no boxes"
        return f"{self.image.file} with " + ", ".join(f"{count} {name}" for name, count, _ in self.counts)

    @property
    def labelled(self) -> bool:
        """Say whether labels are legible beside one another."""
        return len(self.boxes) <= LABELS_DRAWN


def draw(image: StoredImage, classes: Sequence[str | None], *, letters_across: int = 19) -> DrawnImage:
    """Return the shapes of an image's boxes; labels stand above a box, or inside it at the top edge of the image.

    `classes` gives the name of each label: the same twice makes one class of two, None leaves the boxes out. `letters_across` sets how
    large labels are: a small picture needs fewer letters on its longer side.
    """
    font_size = max(image.width, image.height) / letters_across
    boxes = tuple(
        _box(box, name, colour_of(classes, label), crowd, font_size)
        for box, label, crowd in zip(image.boxes, image.labels, image.iscrowd, strict=True)
        if (name := classes[label]) is not None
    )
    counted = Counter(name for label in image.labels if (name := classes[label]) is not None)
    named = (name for name in dict.fromkeys(classes) if name is not None and counted[name])
    counts = tuple((name, counted[name], colour_of(classes, classes.index(name))) for name in named)
    return DrawnImage(image=image, boxes=boxes, font_size=round(font_size, 1), counts=counts)


def colour_of(classes: Sequence[str | None], label: int) -> int:
    """Return the colour slot of a label; labels of one name share that of the first."""
    return classes.index(classes[label]) % COLOURS


def _box(box: tuple[float, float, float, float], name: str, colour: int, crowd: bool, font_size: float) -> DrawnBox:
    left, top, right, bottom = box
    above = top - font_size * 0.3
    return DrawnBox(
        x=round(left, 1),
        y=round(top, 1),
        width=round(right - left, 1),
        height=round(bottom - top, 1),
        colour=colour,
        label=name,
        label_x=round(left, 1),
        label_y=round(above if above > font_size else top + font_size, 1),
        crowd=crowd,
    )
