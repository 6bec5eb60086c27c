"""The shapes of an evaluation's packed files, for who reads them without having written them. Fields beyond these are passed over."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class ExamplesFile(_Part):
    """The file `examples`: see detection_core.evaluation.examples."""

    version: Literal[1]
    classes: list[str]
    score_thresh: Number
    score_floor: Number
    iou: Number
    images: list[ExampleImage]
    suspects: list[ExampleSuspect]


FILES: dict[str, type[BaseModel]] = {"curves": CurvesFile, "examples": ExamplesFile}


def check_file(role: str, text: bytes, *, name: str, bootstrap: Bootstrap | None) -> None:
    """Refuse a `curves` or `examples` file (unpacked) that is not of its shape, or points at what is not in it.

    Args:
        bootstrap: the intervals of the result that the file belongs to; its draws have to be those of `curves`.

    Raises:
        InvalidInput: one sentence that names the file and what is wrong.
    """
    try:
        found = FILES[role].model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"'{name}' is no {role} file: {explain(error, what=role)}; run the job again") from None
    if isinstance(found, CurvesFile):
        _curves_fit(found, bootstrap, name)
    if isinstance(found, ExamplesFile):
        _examples_fit(found, name)


def _curves_fit(found: CurvesFile, bootstrap: Bootstrap | None, name: str) -> None:
    lengths = {len(part) for part in (found.f1.score_thresh, found.f1.precision, found.f1.recall, found.f1.f1)}
    if len(lengths) != 1 or any(len(curve) != len(found.recall) for curve in found.precision.values()):
        raise InvalidInput(f"'{name}' holds curves of unequal lengths; run the job again")
    told = (bootstrap.key, dict.fromkeys(bootstrap.intervals, bootstrap.draws)) if bootstrap else (None, {})
    if (found.bootstrap_key, {number: len(values) for number, values in found.draws.items()}) != told:
        raise InvalidInput(f"'{name}' holds other draws than the result's intervals were made of; run the job again")


def _examples_fit(found: ExamplesFile, name: str) -> None:
    images = {image.id: image for image in found.images}
    for image in found.images:
        labels = [*(truth.label for truth in image.truth), *(detection.label for detection in image.detections)]
        pointed = [detection.truth for detection in image.detections if detection.truth is not None]
        if max(labels, default=-1) >= len(found.classes) or max(pointed, default=-1) >= len(image.truth):
            raise InvalidInput(f"'{name}' points at a class or an object of image {image.id} that is not there; run the job again")
    for suspect in found.suspects:
        seen = images.get(suspect.image)
        detection, truth = (-1 if place is None else place for place in (suspect.detection, suspect.truth))
        if seen is None or detection >= len(seen.detections) or truth >= len(seen.truth):
            raise InvalidInput(f"'{name}' points at image {suspect.image}, or a box in it, that is not there; run the job again")
