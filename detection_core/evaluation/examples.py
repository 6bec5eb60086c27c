"""The output file `examples`: every image with its ground truth, its detections, what became of each, and the labels to look at."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.evaluation.errors import KINDS, SCORE_FLOOR, Explained, explain
from detection_core.evaluation.greedy import FOREGROUND_IOU, Case, Matches, at_least, make_case, match, overlaps_of
from detection_core.evaluation.suspects import SIZES, Suspect, find_suspects, sizes_of
from detection_core.schemas.accuracy_files import ExamplesSample

VERSION = 1
MOST_KEPT = 300_000  # some 30 MB of JSON
_SCORE = 5


def write_examples(
    path: Path,
    ground_truth: dict[str, Any],
    detections: np.ndarray,
    *,
    groups: Mapping[int, str | None],
    score_thresh: float,
) -> None:
    """Write what a page needs to show the images of an evaluation, as gzipped JSON; equal input gives equal bytes.

    Boxes are x1, y1, x2, y2 in pixels of the original image, to a tenth. A label is a place in `classes`. Detections stand the best
    first, those above the floor only: 0.05, or half the operating point where that is lower, and higher, up to the operating point,
    where more than 300,000 detections would be kept. What became of a detection and whether an object is found hold at every score
    threshold above the floor: an object is found from its `score` down.

    Args:
        ground_truth: COCO dict; images may have `file_name`, `width` and `height`.
        detections: float64 [n, 7] rows of image id, x, y, w, h, score, category id.
        groups: place, flight or clip by image id, where images have one.
        score_thresh: the operating point.
    """
    floor = score_floor(detections[:, _SCORE], score_thresh)
    case = make_case(ground_truth, detections, above=floor)
    overlaps = overlaps_of(case)
    matches = match(case, overlaps)
    explained = explain(case, overlaps, matches)
    suspects = find_suspects(case, overlaps, matches, explained, score_thresh=score_thresh)
    head = _head(case, score_thresh=score_thresh, floor=floor)
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
        packed.write(_json(head)[:-1].encode() + b',"images":[')
        for number, image in enumerate(_images(case, matches, explained, groups)):
            packed.write((",\n" if number else "\n").encode() + _json(image).encode())
        packed.write(b'\n],"suspects":' + _json(_listed(case, suspects)).encode() + b"}\n")


def few_examples(ground_truth: dict[str, Any], detections: np.ndarray, *, score_thresh: float) -> ExamplesSample:
    """Return the same for a few images, to look at while a detector learns: only detections of at least `score_thresh`, no suspects.

    Args:
        ground_truth: COCO dict of these images alone.
        detections: float64 [n, 7]; those of other images are left out.
    """
    floor = at_least(score_thresh)
    case = make_case(ground_truth, detections, above=floor)
    overlaps = overlaps_of(case)
    matches = match(case, overlaps)
    images = _images(case, matches, explain(case, overlaps, matches), {})
    return ExamplesSample.model_validate(_head(case, score_thresh=score_thresh, floor=floor) | {"images": list(images)})


def score_floor(scores: np.ndarray, score_thresh: float) -> float:
    """Return the score above which detections are kept: so low that the slider has room, so high that a page can read the file."""
    floor = min(SCORE_FLOOR, score_thresh / 2)
    above = scores[scores > floor]
    if len(above) <= MOST_KEPT:
        return floor
    first_left_out = float(np.partition(above, len(above) - MOST_KEPT - 1)[len(above) - MOST_KEPT - 1])
    return max(floor, min(first_left_out, at_least(score_thresh)))


def _head(case: Case, *, score_thresh: float, floor: float) -> dict[str, Any]:
    return {
        "version": VERSION,
        "classes": list(case.classes),
        "score_thresh": score_thresh,
        "score_floor": floor,
        "iou": FOREGROUND_IOU,
    }


def _images(case: Case, matches: Matches, explained: Explained, groups: Mapping[int, str | None]) -> Iterator[dict[str, Any]]:
    places = np.arange(len(case.images) + 1)
    first_truth = np.searchsorted(case.truth_image, places).tolist()
    first_detection = np.searchsorted(case.image, places).tolist()
    truths, detections = _truths(case, matches), _detections(case, explained, np.array(first_truth))
    for place, image in enumerate(case.images):
        yield {
            "id": image["id"],
            "file": image.get("file_name", ""),
            "width": image.get("width"),
            "height": image.get("height"),
            "group": groups.get(image["id"]),
            "truth": [next(truths) for _ in range(first_truth[place], first_truth[place + 1])],
            "detections": [next(detections) for _ in range(first_detection[place], first_detection[place + 1])],
        }


def _truths(case: Case, matches: Matches) -> Iterator[dict[str, Any]]:
    scores = np.full(len(case.truth_crowd), -1.0)
    scores[matches.truth[matches.right]] = case.scores[matches.right]
    columns = (
        _corners(case.truth_boxes),
        case.truth_label.tolist(),
        case.truth_crowd.tolist(),
        sizes_of(case.truth_area).tolist(),
        scores.tolist(),
    )
    for box, label, crowd, size, score in zip(*columns, strict=True):
        yield {"box": box, "label": label, "crowd": crowd, "size": SIZES[size], "score": score if score >= 0 else None}


def _detections(case: Case, explained: Explained, first_truth: np.ndarray) -> Iterator[dict[str, Any]]:
    columns = (
        _corners(case.boxes),
        case.label.tolist(),
        case.scores.tolist(),
        sizes_of(case.boxes[:, 2] * case.boxes[:, 3]).tolist(),
        np.where(explained.truth < 0, -1, explained.truth - first_truth[case.image]).tolist(),
        explained.kind.tolist(),
    )
    for box, label, score, size, truth, kind in zip(*columns, strict=True):
        yield {
            "box": box,
            "label": label,
            "score": score,
            "size": SIZES[size],
            "truth": truth if truth >= 0 else None,
            "kind": KINDS[kind],
        }


def _listed(case: Case, suspects: list[Suspect]) -> list[dict[str, Any]]:
    places = np.arange(len(case.images))
    first_truth, first_detection = np.searchsorted(case.truth_image, places), np.searchsorted(case.image, places)
    return [
        {
            "image": case.images[suspect.image]["id"],
            "kind": suspect.kind,
            "detection": None if suspect.detection is None else suspect.detection - int(first_detection[suspect.image]),
            "truth": None if suspect.truth is None else suspect.truth - int(first_truth[suspect.image]),
            "score": round(suspect.score, 4),
            "words": suspect.words,
        }
        for suspect in suspects
    ]


def _corners(boxes: np.ndarray) -> list[list[float]]:
    corners = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    return np.round(corners, 1).tolist()


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
