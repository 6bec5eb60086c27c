"""The shapes of an evaluation's packed files, for who reads them without having written them. Fields beyond these are passed over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detection_core.schemas.accuracy import Bootstrap
from detection_core.schemas.base import InvalidInput, explain

Number = Annotated[float, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]
Box = tuple[Number, Number, Number, Number]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class F1Curve(_Part):
    """Precision, recall and F1 at rising score thresholds."""

    score_thresh: list[Number]
    precision: list[Number | None]
    recall: list[Number | None]
    f1: list[Number | None]


class CurvesFile(_Part):
    """The file `curves`: see detection_core.evaluation.curves."""

    version: Literal[1]
    classes: list[str]
    recall: list[Number]
    precision: dict[str, list[Number | None]]
    f1: F1Curve
    draws: dict[str, list[Number | None]]
    bootstrap_key: str | None
    unit: str | None


class ExampleTruth(_Part):
    """One object of an image."""

    box: Box
    label: Index
    crowd: bool
    size: str
    score: Number | None


class ExampleDetection(_Part):
    """One detection of an image and what became of it."""

    box: Box
    label: Index
    score: Number
    size: str
    truth: Index | None
    kind: str


class ExampleImage(_Part):
    """One image."""

    id: int
    file: str
    width: Index | None
    height: Index | None
    group: str | None
    truth: list[ExampleTruth]
    detections: list[ExampleDetection]


class ExampleSuspect(_Part):
    """One label to look at."""

    image: int
    kind: str
    detection: Index | None
    truth: Index | None
    score: Number
    words: str


class ExamplesHead(_Part):
    """What the file `examples` holds beside its images: see detection_core.evaluation.examples."""

    version: Literal[1]
    classes: list[str]
    score_thresh: Number
    score_floor: Number
    iou: Number
    images: Annotated[list[Any], Field(max_length=0)]  # they were read before
    suspects: list[ExampleSuspect]


class ExamplesSample(_Part):
    """A few images in the form of the file `examples`: what a detector that is being trained finds on them."""

    version: Literal[1]
    classes: list[str]
    score_thresh: Number
    score_floor: Number
    iou: Number
    images: list[ExampleImage]

    @model_validator(mode="after")
    def _points_at_what_is_there(self) -> ExamplesSample:
        for image in self.images:
            labels = [truth.label for truth in image.truth] + [found.label for found in image.detections]
            objects = [box.truth for box in image.detections if box.truth is not None]
            if max(labels, default=-1) >= len(self.classes) or max(objects, default=-1) >= len(image.truth):
                raise ValueError(f"image {image.id} points at a class or an object that is not there")
        return self


FILES = ("curves", "examples")
IMAGES = re.compile(r'"images"\s*:\s*\[')
BETWEEN = re.compile(r"[\s,]*")


class ExamplesReader:
    """Reads the text of a file `examples` image by image: all at once they would take many times the memory of the text."""

    def __init__(self, text: str) -> None:
        """Find where the images begin; raises ValueError where there are none."""
        opening = IMAGES.search(text)
        if opening is None:
            raise ValueError("it names no images")
        self._text, self._begin = text, opening.end()
        self._end: int | None = None

    def images(self) -> Iterator[Any]:
        """Decode one image after the other. Raises ValueError or LookupError where the text is no JSON."""
        decoder, place = json.JSONDecoder(), self._begin
        while True:
            place = BETWEEN.match(self._text, place).end()  # type: ignore[union-attr]
            if self._text[place] == "]":
                self._end = place
                return
            image, place = decoder.raw_decode(self._text, place)
            yield image

    def head(self) -> Any:
        """Return what stands in the file beside the images, which have been read to the end; there, `images` is empty."""
        assert self._end is not None, "the images come first"
        return json.loads(self._text[: self._begin] + self._text[self._end :])


def check_file(role: str, text: bytes, *, name: str, bootstrap: Bootstrap | None) -> None:
    """Refuse a `curves` or `examples` file (unpacked) that is not of its shape, or points at what is not in it.

    Args:
        bootstrap: the intervals of the result that the file belongs to; its draws have to be those of `curves`.

    Raises:
        InvalidInput: one sentence that names the file and what is wrong.
    """
    try:
        if role == "curves":
            _curves_fit(CurvesFile.model_validate_json(text), bootstrap, name)
        else:
            _examples_fit(ExamplesReader(text.decode()), name)
    except InvalidInput:
        raise
    except ValidationError as error:
        raise InvalidInput(f"'{name}' is no {role} file: {explain(error, what=role)}; run the job again") from None
    except (ValueError, LookupError, RecursionError) as error:
        raise InvalidInput(f"'{name}' is no {role} file ({error}); run the job again") from None


def _curves_fit(found: CurvesFile, bootstrap: Bootstrap | None, name: str) -> None:
    lengths = {len(part) for part in (found.f1.score_thresh, found.f1.precision, found.f1.recall, found.f1.f1)}
    if len(lengths) != 1 or any(len(curve) != len(found.recall) for curve in found.precision.values()):
        raise InvalidInput(f"'{name}' holds curves of unequal lengths; run the job again")
    told = (bootstrap.key, dict.fromkeys(bootstrap.intervals, bootstrap.draws)) if bootstrap else (None, {})
    if (found.bootstrap_key, {number: len(values) for number, values in found.draws.items()}) != told:
        raise InvalidInput(f"'{name}' holds other draws than the result's intervals were made of; run the job again")


def _examples_fit(reader: ExamplesReader, name: str) -> None:
    """Validate one image at a time; of each only the counts stay, for suspects point at them."""
    counts: dict[int, tuple[int, int]] = {}
    highest, of_image = -1, 0
    for number, found in enumerate(reader.images()):
        image = _example_image(found, number, name)
        counts[image.id] = (len(image.detections), len(image.truth))
        if any(detection.truth is not None and detection.truth >= len(image.truth) for detection in image.detections):
            raise InvalidInput(f"'{name}' points at an object of image {image.id} that is not there; run the job again")
        labels = [*(truth.label for truth in image.truth), *(detection.label for detection in image.detections)]
        if max(labels, default=-1) > highest:
            highest, of_image = max(labels), image.id
    head = ExamplesHead.model_validate(reader.head())
    if highest >= len(head.classes):
        raise InvalidInput(f"'{name}' points at a class in image {of_image} that is not there; run the job again")
    for suspect in head.suspects:
        detection, truth = (-1 if place is None else place for place in (suspect.detection, suspect.truth))
        detections, truths = counts.get(suspect.image, (-1, -1))
        if detection >= detections or truth >= truths:
            raise InvalidInput(f"'{name}' points at image {suspect.image}, or a box in it, that is not there; run the job again")


def _example_image(found: Any, number: int, name: str) -> ExampleImage:
    try:
        return ExampleImage.model_validate(found)
    except ValidationError as error:
        where = f"images.{number}"
        raise InvalidInput(f"'{name}' is no examples file: {explain(error, what=where)}; run the job again") from None
