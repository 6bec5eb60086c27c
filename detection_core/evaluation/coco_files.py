"""COCO files at the border: ground truth and results that people hand in, and the results file that an evaluation writes."""

from __future__ import annotations

import gc
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.evaluation.coco_metrics import detection_table
from detection_core.evaluation.result_ids import IdSource, IdSpace, chosen_space
from detection_core.schemas.base import InvalidInput

MAX_JSON_BYTES = 1 << 30
GZIP_MAGIC = b"\x1f\x8b"
MAX_ID = 2**53  # ids stand in a float64 table
FOREIGN = MAX_ID + 2  # the category of detections of a class that the ground truth does not have; a float64 holds it
LARGEST_NUMBER = 1e15  # refuses infinities, NaN and whole numbers that no float holds


@contextmanager
def _collector_off() -> Iterator[None]:
    """Python's cycle collector looks through all objects made so far, again and again: half of the time of reading a large file."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_collector_off()
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
    for number, entry in enumerate(tables["images"]):
        _plain_image(entry, f"{path.name}: images[{number}]")
    for number, entry in enumerate(tables["categories"]):
        if not isinstance(entry.setdefault("name", str(entry["id"])), str):
            raise InvalidInput(f"{path.name}: categories[{number}] has name {entry['name']!r:.40}; give a text")
    for number, entry in enumerate(tables["annotations"]):
        where = f"{path.name}: annotations[{number}]"
        _known(entry, "image_id", image_ids, "images", where)
        _known(entry, "category_id", category_ids, "categories", where)
        box = _box(entry, where)
        entry["area"] = _number(entry.get("area", box[2] * box[3]), "area", where)
        entry["iscrowd"] = int(bool(entry.get("iscrowd", 0)))
    return tables


@_collector_off()
def read_detections(
    path: Path,
    ground_truth: dict[str, Any],
    *,
    place: str = "the ground truth's images",
    spaces: Mapping[IdSource, IdSpace] | None = None,
    ids: IdSource | None = None,
) -> tuple[np.ndarray, int]:
    """Read a COCO results file (.json or .json.gz) for `ground_truth`.

    An entry names its image by `image_id`, or by `file_name`: as it stands in the ground truth, without `images/` in front, or without its
    folders where that is enough to tell the image.

    Args:
        place: what an unknown image is missing from, in the words of the message.
        spaces: the ids that the file may speak in, where they need not be those of the ground truth.
        ids: which of them it does; None: as its entries tell.

    Returns:
        float64 [n, 7] rows of image id, x, y, w, h, score, category id, in the ids of the ground truth; and how many of them are of
        classes that it does not have: their category is FOREIGN, which scoring passes over.

    Raises:
        InvalidInput: one sentence that names the file, the entry and the field.
    """
    data = _read_json(path)
    if not isinstance(data, list):
        raise InvalidInput(f"{path.name}: COCO results are a list of objects with image_id, category_id, bbox and score")
    own = IdSpace(*({entry["id"]: entry["id"] for entry in ground_truth[name]} for name in ("images", "categories")))
    space = chosen_space(data, spaces, asked=ids, file=path.name) if spaces else own
    names = _image_names(ground_truth["images"])
    table = _sound_table(data, space, names)
    if table is None:
        table = _table_by_entry(data, space, names, place, path.name)
    return table, int(np.count_nonzero(table[:, 6] == FOREIGN))


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


def _image_names(images: list[dict[str, Any]]) -> dict[str, int]:
    """Return image id by file name: whole, without `images/`, and by the last part alone where only one image has it."""
    given = [(str(image["file_name"]), image["id"]) for image in images if image.get("file_name")]
    short = Counter(name.rpartition("/")[2] for name, _ in given)
    names = {last: image for name, image in given if short[last := name.rpartition("/")[2]] == 1}
    return names | {name.removeprefix("images/"): image for name, image in given} | dict(given)


def _sound_table(data: list[Any], space: IdSpace, names: dict[str, int]) -> np.ndarray | None:
    """Return the table of a file without fault, column by column, for half a million entries take long one by one; else None."""
    try:
        written = [entry["image_id"] for entry in data if "image_id" in entry]
        images = [space.images[entry["image_id"]] if "image_id" in entry else names[entry["file_name"]] for entry in data]
        categories = [entry["category_id"] for entry in data]
        boxes = [entry["bbox"] for entry in data]
        scores = [entry["score"] for entry in data]
        if not (set(map(type, written)) | set(map(type, categories)) <= {int} and set(map(type, boxes)) <= {list}):
            return None
        if not (set(map(len, boxes)) <= {4} and set(map(type, chain(scores, chain.from_iterable(boxes)))) <= {int, float}):
            return None
        numbers = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        if categories and not 0 <= min(categories) <= max(categories) <= MAX_ID:
            return None
        labels = [space.categories.get(category, FOREIGN) for category in categories]
        table = np.column_stack([np.array(column, dtype=np.float64) for column in (images, scores, labels)]).reshape(-1, 3)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    table = np.column_stack([table[:, :1], numbers, table[:, 1:]])
    return table if (np.abs(table[:, 1:6]) < LARGEST_NUMBER).all() and (table[:, 3:5] >= 0).all() else None


def _table_by_entry(data: list[Any], space: IdSpace, names: dict[str, int], place: str, file: str) -> np.ndarray:
    """Return the table entry by entry, and name the first that is wrong."""
    rows = []
    for number, entry in enumerate(data):
        where = f"{file}: entry {number}"
        if not isinstance(entry, dict):
            raise InvalidInput(f"{where} is not an object with image_id, category_id, bbox and score")
        image = _image_of(entry, space, names, place, where)
        category = space.categories.get(_identifier(entry, "category_id", where), FOREIGN)
        rows.append((image, *_box(entry, where), _number(entry.get("score"), "score", where), category))
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _image_of(entry: dict[str, Any], space: IdSpace, names: dict[str, int], place: str, where: str) -> int:
    if "image_id" in entry or "file_name" not in entry:
        _known(entry, "image_id", space.images, place, where)
        return space.images[entry["image_id"]]
    name = entry["file_name"]
    if not isinstance(name, str) or name not in names:
        shown = repr(name)[:100]
        raise InvalidInput(f"{where} has file_name {shown}, which names no one image of {place}; correct it or remove the entry")
    return names[name]


def _entries(data: dict[str, Any], name: str, file: str) -> list[dict[str, Any]]:
    entries = data.get(name)
    if not isinstance(entries, list):
        raise InvalidInput(f"{file}: the list '{name}' is missing; COCO ground truth has images, categories and annotations")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InvalidInput(f"{file}: {name}[{number}] is not an object; correct it")
    return entries


def _plain_image(entry: dict[str, Any], where: str) -> None:
    """Leave only sizes that are sizes, which box scoring does not need, and names that are texts."""
    for side in ("width", "height"):
        value = entry.get(side)
        entry[side] = value if type(value) is int and 0 < value < MAX_ID else None
    if not isinstance(entry.setdefault("file_name", ""), str):
        raise InvalidInput(f"{where} has file_name {entry['file_name']!r:.40}; give a text")


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


def _known(entry: dict[str, Any], field: str, known: Container[int], place: str, where: str) -> None:
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
