"""Evaluated images: their boxes drawn as SVG in the image's own pixels, and the rows of tables beside them.

The shapes are written here rather than by a template: a page of 24 dense images has thousands of them, which take a template seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from webapp.datasets.archive import ArchiveIndex
from webapp.datasets.models import DatasetVersion
from webapp.datasets.selectors import stored_index
from webapp.gallery.examples import KINDS, NOT_FOUND, SIZES, Examples, Suspect
from webapp.results.accuracy import ERROR_KINDS

KIND_WORDS = {"tp": "right", "ignored": "in a crowd, not counted"} | {
    kind.lower(): title.lower() for kind, (title, _) in ERROR_KINDS.items()
}
# Letters along the longer side of a picture in a grid, of one of two side by side, and of a large one.
SMALL_LETTERS, BROAD_LETTERS, LARGE_LETTERS = 17, 32, 56
NAMES_DRAWN = 20  # more are not legible beside one another; then the numbers stand alone, and the tables have the names
WIDTHS = (320, 640, 1280)
CROP_SIDES = (4, 3)
SHARPNESS = 480  # pixels across a crop
UNKNOWN_SIDE = 640


@dataclass(frozen=True)
class Shape:
    """A rectangle in image pixels, and how far down words stand above it and below it, or inside at the edges of the image."""

    x: float
    y: float
    width: float
    height: float
    above: float
    below: float

    @property
    def rect(self) -> str:
        """The rectangle's attributes as SVG."""
        return f'x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}"'

    @property
    def two_rects(self) -> str:
        """A line over a broader one that is dark, as SVG."""
        return f'<rect class="under" {self.rect}/><rect {self.rect}/>'

    def text(self, words: str, *, below: bool = False) -> str:
        """Words at the rectangle's left as SVG."""
        return f'<text x="{self.x}" y="{self.below if below else self.above}">{escape(words)}</text>'


@dataclass(frozen=True)
class DrawnTruth:
    """An object as it was labelled. `score` is that of the detection that finds it, written so that a script reads the same number;
    "" where nothing finds it. `missed` holds at the page's threshold."""

    number: int
    shape: Shape
    name: str
    size: str
    crowd: bool
    score: str
    missed: bool
    found_by: int | None

    @property
    def svg(self) -> SafeString:
        """The box as labelled: a light dashed line over a dark one, to be seen on any ground."""
        kind = " truth-crowd" if self.crowd else _missed(self)
        return mark_safe(f'<g class="truth{kind}" data-score="{self.score}">{self.shape.two_rects}</g>')


@dataclass(frozen=True)
class DrawnDetection:
    """A detection; `below` the page's threshold it is not shown. `partner` is the number of the object it is about, with their IoU."""

    number: int
    shape: Shape
    name: str
    size: str
    kind: str
    score: str
    value: float
    below: bool
    partner: int | None
    iou: float | None

    @property
    def svg(self) -> SafeString:
        """The box as found."""
        return mark_safe(f"<g {_seen(self)}><rect {self.shape.rect}/></g>")

    @property
    def right(self) -> bool:
        """Whether it finds an object."""
        return self.kind == "tp"

    @property
    def false(self) -> bool:
        """Whether it is a false positive."""
        return self.kind not in ("tp", "ignored")

    @property
    def words(self) -> str:
        """Say what became of it."""
        return KIND_WORDS[self.kind]


@dataclass(frozen=True)
class Picture:
    """An image with all that was labelled and found on it. `version` is None where its picture cannot be shown; `numbered` says that
    boxes carry the numbers of the tables beside it."""

    number: int
    file: str
    group: str | None
    width: int
    height: int
    version: DatasetVersion | None
    font_size: float
    numbered: bool
    truth: tuple[DrawnTruth, ...]
    detections: tuple[DrawnDetection, ...]

    @property
    def svg(self) -> SafeString:
        """All boxes, then their words over them. Each carries the score by which a script hides or shows it."""
        shapes = [*(box.svg for box in self.detections), *(box.svg for box in self.truth), *self._words()]
        return mark_safe("".join(shapes))

    def _words(self) -> Iterator[str]:
        """F below false positives, M above misses; on a large picture with the number, and the name where there is room.

        A false positive often lies on the object that is missed, or found a second time, so their words stand apart.
        """
        named = len(self.detections) - self.below + self.missed <= NAMES_DRAWN
        for box in self.detections:
            if box.false or (self.numbered and box.right):
                letter = "F" if box.false else ""
                yield f"<g {_seen(box)}>{box.shape.text(letter + self._number(box, named), below=box.false)}</g>"
        for truth in self.truth:
            if not truth.crowd:
                words = truth.shape.text("M" + self._number(truth, named))
                yield f'<g class="truth truth-word{_missed(truth)}" data-score="{truth.score}">{words}</g>'

    def _number(self, box: DrawnTruth | DrawnDetection, named: bool) -> str:
        if not self.numbered:
            return ""
        return f"{box.number} {box.name}" if named else str(box.number)

    @property
    def right(self) -> int:
        """True positives at the page's threshold."""
        return sum(box.right and not box.below for box in self.detections)

    @property
    def false(self) -> int:
        """False positives at the page's threshold."""
        return sum(box.false and not box.below for box in self.detections)

    @property
    def missed(self) -> int:
        """Objects that are not found at the page's threshold."""
        return sum(box.missed for box in self.truth)

    @property
    def below(self) -> int:
        """Detections that the page's threshold hides."""
        return sum(box.below for box in self.detections)

    @property
    def alt(self) -> str:
        """Say what the picture shows to a reader who cannot see it; it names no counts, which move with the threshold."""
        return self.file or f"image {self.number}"


class Album:
    """Pictures of an evaluation at a threshold; looks the images up in the stored data set, where they are there."""

    def __init__(self, examples: Examples, version: DatasetVersion | None, *, score: float) -> None:
        self.examples = examples
        self.version = version
        self.score = score
        self.index = _index(version)

    @property
    def pictures_gone(self) -> bool:
        """Whether the stored file of the data set is gone."""
        return self.version is not None and self.index is None

    def picture(self, place: int, *, letters_across: int = SMALL_LETTERS, numbered: bool = False) -> Picture:
        """Return the image at a place of the file."""
        examples = self.examples
        number, file = examples.ids[place], examples.files[place].removeprefix("images/")
        shown = self.index is not None and 1 <= number <= len(self.index) and self.index.files[number - 1] == file
        width, height = self._sides(place, self.index.sides[number - 1] if self.index is not None and shown else None)
        font_size = max(width, height) / letters_across
        return Picture(
            number=number,
            file=file,
            group=examples.groups[place],
            width=width,
            height=height,
            version=self.version if shown else None,
            font_size=round(font_size, 1),
            numbered=numbered,
            truth=self._truth(place, font_size, height),
            detections=self._detections(place, font_size, height),
        )

    def _sides(self, place: int, stored: np.ndarray | None) -> tuple[int, int]:
        """The image's width and height: as stored, as told by the file, else as far as boxes reach."""
        examples = self.examples
        known = stored if stored is not None else examples.sides[place]
        if known.min() > 0:
            return int(known[0]), int(known[1])
        boxes = np.concatenate([examples.truth_boxes[_truth_slice(examples, place)], examples.boxes[_slice(examples, place)]])
        right, bottom = boxes[:, 2:].max(axis=0, initial=0).tolist()
        return max(int(right) + 1, UNKNOWN_SIDE), max(int(bottom) + 1, UNKNOWN_SIDE)

    def _truth(self, place: int, font_size: float, height: int) -> tuple[DrawnTruth, ...]:
        examples, mine = self.examples, _truth_slice(self.examples, place)
        found_by = _found_by(examples, place)
        columns = (examples.truth_boxes, examples.truth_labels, examples.truth_crowd, examples.truth_sizes, examples.truth_scores)
        return tuple(
            DrawnTruth(
                number=number,
                shape=_shape(box, font_size, height),
                name=examples.classes[label],
                size=SIZES[size],
                crowd=crowd,
                score="" if score == NOT_FOUND else repr(score),
                missed=not crowd and score < self.score,
                found_by=found_by.get(number),
            )
            for number, (box, label, crowd, size, score) in enumerate(
                zip(*(column[mine].tolist() for column in columns), strict=True), start=1
            )
        )

    def _detections(self, place: int, font_size: float, height: int) -> tuple[DrawnDetection, ...]:
        examples, mine = self.examples, _slice(self.examples, place)
        truth = _truth_slice(examples, place)
        truth_boxes, crowd = examples.truth_boxes[truth], examples.truth_crowd[truth]
        columns = (examples.boxes, examples.labels, examples.scores, examples.sizes, examples.truths, examples.kinds)
        return tuple(
            DrawnDetection(
                number=number,
                shape=_shape(box, font_size, height),
                name=examples.classes[label],
                size=SIZES[size],
                kind=KINDS[kind],
                score=repr(score),
                value=score,
                below=score < self.score,
                partner=partner + 1 if partner >= 0 else None,
                iou=_overlap(box, truth_boxes[partner].tolist(), bool(crowd[partner])) if partner >= 0 else None,
            )
            for number, (box, label, score, size, partner, kind) in enumerate(
                zip(*(column[mine].tolist() for column in columns), strict=True), start=1
            )
        )


@dataclass(frozen=True)
class Crop:
    """The part of a picture around a suspected label: a view box in image pixels, and which width of the picture is sharp enough."""

    picture: Picture
    view_box: str
    served_width: int
    truth: Shape | None
    detection: Shape | None

    @property
    def svg(self) -> SafeString:
        """The label and the detection that contradicts it."""
        seen = f'<g class="seen seen-bkg"><rect {self.detection.rect}/></g>' if self.detection else ""
        truth = f'<g class="truth">{self.truth.two_rects}</g>' if self.truth else ""
        return mark_safe(seen + truth)


def crop_around(picture: Picture, suspect: Suspect) -> Crop:
    """Return the part of a picture that shows a suspect with some of what is around it."""
    truth = None if suspect.truth is None else picture.truth[suspect.truth].shape
    detection = None if suspect.detection is None else picture.detections[suspect.detection].shape
    shapes = [shape for shape in (truth, detection) if shape is not None]
    left, top = min(shape.x for shape in shapes), min(shape.y for shape in shapes)
    right, bottom = max(shape.x + shape.width for shape in shapes), max(shape.y + shape.height for shape in shapes)
    across, down = CROP_SIDES
    width = max(2 * (right - left), 2 * (bottom - top) * across / down, max(picture.width, picture.height) / 4)
    height = width * down / across
    x, y = _placed((left + right) / 2, width, picture.width), _placed((top + bottom) / 2, height, picture.height)
    sharp = next((served for served in WIDTHS if served * width / picture.width >= SHARPNESS), WIDTHS[-1])
    return Crop(
        picture=picture,
        view_box=f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}",
        served_width=sharp,
        truth=truth,
        detection=detection,
    )


def _placed(middle: float, length: float, whole: float) -> float:
    """Where a stretch around `middle` starts, kept within the picture where it fits."""
    if length >= whole:
        return (whole - length) / 2
    return min(max(middle - length / 2, 0), whole - length)


def _seen(box: DrawnDetection) -> str:
    return f'class="seen seen-{box.kind}{" off" if box.below else ""}" data-score="{box.score}"'


def _missed(box: DrawnTruth) -> str:
    return " missed" if box.missed else ""


def _index(version: DatasetVersion | None) -> ArchiveIndex | None:
    try:
        return stored_index(version) if version is not None else None
    except FileNotFoundError:
        return None


def _slice(examples: Examples, place: int) -> slice:
    return slice(examples.starts[place], examples.starts[place + 1])


def _truth_slice(examples: Examples, place: int) -> slice:
    return slice(examples.truth_starts[place], examples.truth_starts[place + 1])


def _found_by(examples: Examples, place: int) -> dict[int, int]:
    """The number of the detection that finds each object of an image, by the object's number."""
    mine = _slice(examples, place)
    pairs = zip(examples.truths[mine].tolist(), examples.kinds[mine].tolist(), strict=True)
    return {truth + 1: number for number, (truth, kind) in enumerate(pairs, start=1) if KINDS[kind] == "tp"}


def _shape(box: list[float], font_size: float, height: int) -> Shape:
    left, top, right, bottom = box
    above, below = top - font_size * 0.3, bottom + font_size * 1.05
    return Shape(
        x=round(left, 1),
        y=round(top, 1),
        width=round(max(right - left, 0), 1),
        height=round(max(bottom - top, 0), 1),
        above=round(above if above > font_size else top + font_size, 1),
        below=round(below if below < height else bottom - font_size * 0.3, 1),
    )


def _overlap(box: list[float], truth: list[float], crowd: bool) -> float:
    """IoU; with a crowd the share of the detection that lies in it."""
    width = min(box[2], truth[2]) - max(box[0], truth[0])
    height = min(box[3], truth[3]) - max(box[1], truth[1])
    if width <= 0 or height <= 0:
        return 0.0
    common, area = width * height, (box[2] - box[0]) * (box[3] - box[1])
    whole = area if crowd else area + (truth[2] - truth[0]) * (truth[3] - truth[1]) - common
    return common / whole if whole > 0 else 0.0
