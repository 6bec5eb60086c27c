"""The output `examples` of an evaluation, read into arrays: many images take little memory, and a page is a few sums over them."""

from __future__ import annotations

import gzip
import zlib
from array import array
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from detection_core.schemas.accuracy_files import ExamplesReader
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open

SIZES = ("small", "medium", "large")
KINDS = ("tp", "ignored", "cls", "loc", "both", "dupe", "bkg")
TP, IGNORED, CLS, LOC = (KINDS.index(kind) for kind in ("tp", "ignored", "cls", "loc"))
NOT_FOUND = -1.0
MOST_KEPT = 8
_reading = Lock()
_kept: dict[str, Examples] = {}


class Unreadable(Exception):
    """The stored file is gone, or is not what it should be."""


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong; `image` is the image's id, `detection` and `truth` are places among those of the image."""

    image: int
    kind: str
    detection: int | None
    truth: int | None
    score: float
    words: str


@dataclass(frozen=True, eq=False)
class Examples:
    """Every image of an evaluation, in the order of the file, with its ground truth and its detections above `score_floor`.

    Ground truth of all images stands one after another, that of the image at place p from `truth_starts[p]` to `truth_starts[p + 1]`;
    detections likewise by `starts`, the best of an image first. Boxes are float32 [n, 4] xyxy in pixels of the original image. What
    became of a detection (`kinds`, places in KINDS) and the score from which down an object is found (`truth_scores`, NOT_FOUND where
    nothing finds it) hold at every score threshold above the floor. `truths` is the place of a detection's object in its image, or -1.
    """

    classes: tuple[str, ...]
    score_thresh: float
    score_floor: float
    ids: tuple[int, ...]
    files: tuple[str, ...]
    groups: tuple[str | None, ...]
    sides: np.ndarray  # int64 [images, 2], width and height, 0 where not known
    truth_starts: np.ndarray
    truth_boxes: np.ndarray
    truth_labels: np.ndarray
    truth_crowd: np.ndarray
    truth_sizes: np.ndarray
    truth_scores: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    sizes: np.ndarray
    truths: np.ndarray
    kinds: np.ndarray
    suspects: tuple[Suspect, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def places(self) -> dict[int, int]:
        """The place of each image by its id."""
        return {number: place for place, number in enumerate(self.ids)}

    @cached_property
    def truth_image(self) -> np.ndarray:
        """The place of the image of each box of ground truth."""
        return np.repeat(np.arange(len(self)), np.diff(self.truth_starts))

    @cached_property
    def image(self) -> np.ndarray:
        """The place of the image of each detection."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def partner(self) -> np.ndarray:
        """The object that each detection is about, a place among all ground truth, or -1."""
        return np.where(self.truths < 0, -1, self.truths + self.truth_starts[self.image])

    @cached_property
    def counted_scores(self) -> np.ndarray:
        """Scores, rising, of all detections that count: those that a crowd excuses do not."""
        return np.sort(self.scores[self.kinds != IGNORED])

    @cached_property
    def right_scores(self) -> np.ndarray:
        """Scores, rising, of the detections that find an object."""
        return np.sort(self.scores[self.kinds == TP])

    @cached_property
    def objects(self) -> int:
        """How many objects there are to be found."""
        return int(np.count_nonzero(~self.truth_crowd))


def examples_of(artifact: Artifact) -> Examples:
    """Return what an output `examples` holds. The last few files are kept by content hash, so they never go stale.

    Raises:
        Unreadable: the stored file is gone, or is not such a file.
    """
    known = _kept.get(artifact.pk)
    if known is None:
        with _reading:  # one thread reads, the others find it read
            known = _kept.get(artifact.pk)
            if known is None:
                known = _kept[artifact.pk] = _read(artifact)
                while len(_kept) > MOST_KEPT:
                    _kept.pop(next(iter(_kept)))
    return known


def examples_of_sample(data: dict[str, Any]) -> Examples:
    """Return what a sample of a few images holds, as a training tells it (detection_core.schemas.accuracy_files.ExamplesSample).

    Raises:
        Unreadable: it is not such a sample.
    """
    columns = _Columns()
    try:
        for image in data["images"]:
            columns.add(image)
        return columns.examples(data)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise Unreadable(f"the sample cannot be read: {error}") from None


def _read(artifact: Artifact) -> Examples:
    try:
        with artifact_open(artifact) as stream:
            return _parse(gzip.decompress(stream.read()).decode())
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, OverflowError) as error:
        raise Unreadable(f"the stored file '{artifact.name}' cannot be read: {error}") from None


def _parse(text: str) -> Examples:
    """Image by image: all at once they would take ten times the memory, and no other thread would run meanwhile."""
    columns, reader = _Columns(), ExamplesReader(text)
    for image in reader.images():
        columns.add(image)
    return columns.examples(reader.head())


class _Columns:
    """Collects images into arrays."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.files: list[str] = []
        self.groups: list[str | None] = []
        self.sides = array("q")
        self.truth_counts, self.counts = array("q"), array("q")
        self.truth_boxes, self.boxes = array("f"), array("f")
        self.truth_labels, self.labels = array("i"), array("i")
        self.truth_sizes, self.sizes = array("b"), array("b")
        self.truth_scores, self.scores = array("d"), array("d")
        self.truth_crowd, self.kinds = array("b"), array("b")
        self.truths = array("i")
        self._size = {size: place for place, size in enumerate(SIZES)}
        self._kind = {kind: place for place, kind in enumerate(KINDS)}

    def add(self, image: dict[str, Any]) -> None:
        """Take in one image of the file."""
        self.ids.append(int(image["id"]))
        self.files.append(image.get("file") or "")
        self.groups.append(image.get("group"))
        self.sides.extend((int(image.get("width") or 0), int(image.get("height") or 0)))
        self.truth_counts.append(len(image["truth"]))
        self.counts.append(len(image["detections"]))
        for entry in image["truth"]:
            self.truth_boxes.extend(entry["box"])
            self.truth_labels.append(entry["label"])
            self.truth_crowd.append(entry["crowd"])
            self.truth_sizes.append(self._size[entry["size"]])
            self.truth_scores.append(NOT_FOUND if entry["score"] is None else entry["score"])
        for entry in image["detections"]:
            self.boxes.extend(entry["box"])
            self.labels.append(entry["label"])
            self.scores.append(entry["score"])
            self.sizes.append(self._size[entry["size"]])
            self.truths.append(-1 if entry["truth"] is None else entry["truth"])
            self.kinds.append(self._kind[entry["kind"]])

    def examples(self, rest: dict[str, Any]) -> Examples:
        """Return all of it, with what stands in the file beside the images."""
        return Examples(
            classes=tuple(rest["classes"]),
            score_thresh=float(rest["score_thresh"]),
            score_floor=float(rest["score_floor"]),
            ids=tuple(self.ids),
            files=tuple(self.files),
            groups=tuple(self.groups),
            sides=np.array(self.sides, np.int64).reshape(-1, 2),
            truth_starts=_starts(self.truth_counts),
            truth_boxes=np.array(self.truth_boxes, np.float32).reshape(-1, 4),
            truth_labels=np.array(self.truth_labels, np.int32),
            truth_crowd=np.array(self.truth_crowd, bool),
            truth_sizes=np.array(self.truth_sizes, np.int8),
            truth_scores=np.array(self.truth_scores, np.float64),
            starts=_starts(self.counts),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 4),
            labels=np.array(self.labels, np.int32),
            scores=np.array(self.scores, np.float64),
            sizes=np.array(self.sizes, np.int8),
            truths=np.array(self.truths, np.int32),
            kinds=np.array(self.kinds, np.int8),
            suspects=tuple(Suspect(**entry) for entry in rest.get("suspects", [])),
        )


def _starts(counts: array[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.array(counts, np.int64), dtype=np.int64)]).astype(np.int64)
