"""COCO files at the border: ground truth and results that people hand in, and the results file that an evaluation writes."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.evaluation.coco_metrics import detection_table
from detection_core.schemas.base import InvalidInput

MAX_JSON_BYTES = 1 << 30
GZIP_MAGIC = b"\x1f\x8b"
MAX_ID = 2**53  # ids stand in a float64 table
LARGEST_NUMBER = 1e15  # refuses infinities, NaN and whole numbers that no float holds


def read_ground_truth(path: Path) -> dict[str, Any]:
    """Read a COCO ground-truth file (.json or .json.gz) and fill in what it may leave out (`area`, `iscrowd`, class names).

    Raises:
        InvalidInput: one sentence that names the file, the entry and the field.
    """
    data = _read_json(path)
    if not isinstance(data, dict):
        raise InvalidInput(f"{path.name}: COCO ground truth is one object with images, categories and annotations, not a list")
    tables = {name: _entries(data, name, path.name) for name in ("images", "categories", "annotations")}
    image_ids = _unique_ids(tables["images"], "images", path.name)
    category_ids = _unique_ids(tables["categories"], "categories", path.name)
    for entry in tables["categories"]:
        entry.setdefault("name", str(entry["id"]))
    for number, entry in enumerate(tables["annotations"]):
        where = f"{path.name}: annotations[{number}]"
        _known(entry, "image_id", image_ids, "images", where)
        _known(entry, "category_id", category_ids, "categories", where)
        box = _box(entry, where)
        entry["area"] = _number(entry.get("area", box[2] * box[3]), "area", where)
        entry["iscrowd"] = int(bool(entry.get("iscrowd", 0)))
    return tables


def read_detections(path: Path, ground_truth: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Read a COCO results file (.json or .json.gz) for `ground_truth`.

    Returns:
        float64 [n, 7] rows of image id, x, y, w, h, score, category id; and how many of them are of classes that the ground truth does
        not have, which COCO scoring passes over.

    Raises:
        InvalidInput: one sentence that names the file, the entry and the field.
    """
    data = _read_json(path)
    if not isinstance(data, list):
        raise InvalidInput(f"{path.name}: COCO results are a list of objects with image_id, category_id, bbox and score")
    image_ids = {image["id"] for image in ground_truth["images"]}
    category_ids = {entry["id"] for entry in ground_truth["categories"]}
    foreign = 0
    for number, entry in enumerate(data):
        where = f"{path.name}: entry {number}"
        if not isinstance(entry, dict):
            raise InvalidInput(f"{where} is not an object with image_id, category_id, bbox and score")
        _known(entry, "image_id", image_ids, "the ground truth's images", where)
        foreign += _identifier(entry, "category_id", where) not in category_ids
        _box(entry, where)
        entry["score"] = _number(entry.get("score"), "score", where)
    return detection_table(data), foreign


def write_detections(path: Path, detections: np.ndarray) -> None:
    """Write detections as a gzipped COCO results file.

    Equal detections give equal bytes, and numbers are written in full: scoring the file again gives the same metrics.
    """
    # By hand, for json.dumps takes three times as long; repr is what it writes for a float.
    rows = (
        f'{{"image_id":{int(image)},"category_id":{int(category)},"bbox":[{x!r},{y!r},{w!r},{h!r}],"score":{score!r}}}'
        for image, x, y, w, h, score, category in detection_table(detections).tolist()
    )
    text = "[" + ",\n".join(rows) + "]\n"
    path.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_bytes(path))
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise InvalidInput(f"{path.name} is not JSON ({reason}); write the file again, it may have been cut off") from None


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}; correct the path") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder; give the JSON file in it") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InvalidInput(f"{path.name} is a broken gzip file; write or download it again") from None
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInput(f"{path.name} holds more than {MAX_JSON_BYTES >> 30} GiB of JSON; split the set")
    return data


def _entries(data: dict[str, Any], name: str, file: str) -> list[dict[str, Any]]:
    entries = data.get(name)
    if not isinstance(entries, list):
        raise InvalidInput(f"{file}: the list '{name}' is missing; COCO ground truth has images, categories and annotations")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InvalidInput(f"{file}: {name}[{number}] is not an object; correct it")
    return entries


def _unique_ids(entries: list[dict[str, Any]], name: str, file: str) -> set[int]:
    ids: set[int] = set()
    for number, entry in enumerate(entries):
        where = f"{file}: {name}[{number}]"
        identifier = _identifier(entry, "id", where)
        if identifier in ids:
            raise InvalidInput(f"{where} has the id {identifier} of an earlier entry; give each its own")
        ids.add(identifier)
    return ids


def _identifier(entry: dict[str, Any], field: str, where: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ID:
        raise InvalidInput(f"{where} has {field} {value!r}; give a whole number from 0")
    return value


def _known(entry: dict[str, Any], field: str, known: set[int], place: str, where: str) -> None:
    value = _identifier(entry, field, where)
    if value not in known:
        raise InvalidInput(f"{where} has {field} {value}, which is not in {place}; correct it or remove the entry")


def _box(entry: dict[str, Any], where: str) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InvalidInput(f"{where} has bbox {box!r}; give [x, y, width, height]")
    values = [_number(value, "bbox", where) for value in box]
    if values[2] < 0 or values[3] < 0:
        raise InvalidInput(f"{where} has a bbox of negative size {box}; give [x, y, width, height]")
    return values


def _number(value: Any, field: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST_NUMBER:
        raise InvalidInput(f"{where} has {field} {str(value)[:40]}; give a finite number")
    return float(value)
