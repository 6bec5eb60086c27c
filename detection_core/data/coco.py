"""COCO form: .json files with images, annotations and categories; one file for a split or one for all."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from detection_core.data.health import HealthLog
from detection_core.data.raw import RawBox, RawDataset, RawImage, is_image
from detection_core.data.splits import split_named
from detection_core.schemas.base import InvalidInput

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoFile:
    """One annotation file, its content, and the split that its name or folder says."""

    file: str
    content: dict[str, Any]
    split: str | None


def find_coco(root: Path, files: list[str], log: HealthLog) -> list[CocoFile]:
    """Return the box annotation files under `root`; of COCO's own folder only `instances_*.json` (not captions, keypoints, panoptic).

    What else looks like box annotations gets a line in the report.
    """
    candidates = [file for file in files if file.lower().endswith(".json")]
    instances = [file for file in candidates if PurePosixPath(file).name.startswith("instances_")]
    found = []
    for file in instances or candidates:
        try:
            content = json.loads((root / file).read_bytes(), object_hook=_without_outlines)
        except (ValueError, RecursionError) as error:
            log.add("broken_json", file, f"this is not JSON ({error})", "the file was left out")
            continue
        if lack := _lack(content):
            log.add("broken_coco", file, lack, "the file was left out")
        elif _has_boxes(content):
            found.append(CocoFile(file, content, _split_of(file)))
    _report_left_out(root, [file for file in candidates if file not in instances] if instances else [], log)
    return found


def read_coco(found: list[CocoFile], files: list[str], log: HealthLog) -> RawDataset:
    """Read all files into one data set; labels follow the order of category ids over all files.

    Raises:
        InvalidInput: the files give one category id two names, or name no category.
    """
    names = _categories(found, log)
    labels = {category: index for index, category in enumerate(sorted(names))}
    places = _ImagePlaces(files)
    images: list[RawImage] = []
    for coco in found:
        images.extend(_images_of(coco, labels, places, log))
    return RawDataset(tuple(names[category] for category in sorted(names)), images, found[0].file, source_categories=labels)


def _without_outlines(row: dict[str, Any]) -> dict[str, Any]:
    """Drop what takes most of the memory and is never read here."""
    row.pop("segmentation", None)
    row.pop("keypoints", None)
    return row


def _lack(content: Any) -> str | None:
    """Say what a file that means to be COCO annotations is without; None for a whole one and for JSON of another kind."""
    present = [key for key in _LISTS if isinstance(content, dict) and isinstance(content.get(key), list)]
    if "annotations" not in present or len(present) == 1:
        return None
    missing = [key for key in _LISTS if key not in present]
    if missing == ["categories"] and not _any_bbox(content["annotations"]):
        return None  # captions
    if missing:
        return f"it has no list '{missing[0]}', which COCO annotations need"
    rows = content["annotations"]
    return "none of its annotations has a bbox" if rows and not _any_bbox(rows) else None


def _has_boxes(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _LISTS)


def _any_bbox(rows: list[Any]) -> bool:
    return any(isinstance(row, dict) and "bbox" in row for row in rows[:1000])


def _report_left_out(root: Path, others: list[str], log: HealthLog) -> None:
    """Name the files beside `instances_*.json` that hold boxes too, by their bytes: they may be larger than what is read."""
    for file in others:
        content = (root / file).read_bytes()
        if b'"annotations"' in content and b'"bbox"' in content:
            problem = "it looks like box annotations, but the folder has files called instances_*.json"
            log.add("annotation_file_left_out", file, problem, "only those were read; call it instances_NAME.json to have it read too")


def _split_of(file: str) -> str | None:
    path = PurePosixPath(file)
    words = [path.stem, *reversed(path.parent.parts)]
    return next((split for word in words if (split := split_named(word))), None)


def _categories(found: list[CocoFile], log: HealthLog) -> dict[int, str]:
    """Return category id -> name. A name that stands under several ids gets its id behind it."""
    names: dict[int, str] = {}
    for coco in found:
        for row in coco.content["categories"]:
            if not isinstance(row, dict) or type(row.get("id")) is not int or not isinstance(row.get("name"), str):
                log.add("malformed_category", coco.file, f"category {row!r:.80} has no whole-number id and name", "it was left out")
                continue
            if names.setdefault(row["id"], row["name"]) != row["name"]:
                known = names[row["id"]]
                raise InvalidInput(
                    f"{coco.file} calls category {row['id']} '{row['name']}', another file '{known}'; use one list of categories"
                )
    if not names:
        raise InvalidInput(f"{found[0].file} names no category; add the list 'categories' with id and name")
    return _told_apart(names, found[0].file, log)


def _told_apart(names: dict[int, str], file: str, log: HealthLog) -> dict[int, str]:
    counts = Counter(names.values())
    for category, name in names.items():
        if counts[name] > 1:
            log.add("repeated_class_name", file, f"category {category} is called '{name}' like another", f"it became '{name} {category}'")
    return {category: name if counts[name] == 1 else f"{name} {category}" for category, name in names.items()}


def _images_of(coco: CocoFile, labels: dict[int, int], places: _ImagePlaces, log: HealthLog) -> list[RawImage]:
    images: dict[Any, RawImage] = {}
    absent: set[Any] = set()
    for row in coco.content["images"]:
        if not isinstance(row, dict) or not _is_id(row.get("id")) or not isinstance(row.get("file_name"), str):
            log.add("malformed_image", coco.file, f"image {row!r:.80} has no id and file_name", "it was left out")
            continue
        key, name = row["id"], row["file_name"]
        if key in images or key in absent:
            log.add("duplicate_image_id", coco.file, f"image id {key} is used again, for {name}", "the second image was left out")
            continue
        place = places.find(name, beside=coco.file, split=coco.split)
        if place is None:
            absent.add(key)
            log.add("missing_image", name, f"{coco.file} lists it, but there is no such file", "the image was left out with its boxes")
            continue
        images[key] = RawImage(place, coco.split, size=_size(row), source_id=key if isinstance(key, int) else None)
    _add_boxes(coco, images, absent, labels, log)
    return list(images.values())


def _add_boxes(coco: CocoFile, images: dict[Any, RawImage], absent: set[Any], labels: dict[int, int], log: HealthLog) -> None:
    for number, row in enumerate(coco.content["annotations"], start=1):
        where = f"annotation {row['id']}" if isinstance(row, dict) and "id" in row else f"annotation number {number}"
        if not isinstance(row, dict) or not _is_id(row.get("image_id")):
            log.add("malformed_box", coco.file, f"{where} has no image_id", "it was dropped")
            continue
        image = images.get(row["image_id"])
        if image is None:
            if row["image_id"] not in absent:
                log.add("unknown_image", coco.file, f"{where} belongs to image {row['image_id']}, which is not listed", "it was dropped")
            continue
        category, bbox = row.get("category_id"), row.get("bbox")
        numbers = [_number(value) for value in bbox] if isinstance(bbox, list) and len(bbox) == 4 else [None]
        if None in numbers:
            log.add("malformed_box", image.file, f"{where}: bbox {bbox!r:.60} is not four numbers", "the box was dropped")
        elif type(category) is not int or category not in labels:
            log.add("unknown_class", image.file, f"{where}: category {category!r:.40} is not listed", "the box was dropped")
        else:
            x, y, width, height = (value for value in numbers if value is not None)
            area = _number(row.get("area"))
            box = (x, y, x + width, y + height)
            image.boxes.append(RawBox(box, labels[category], where, bool(row.get("iscrowd")), area if area and area > 0 else None))


def _size(row: dict[str, Any]) -> tuple[int, int] | None:
    width, height = _number(row.get("width")), _number(row.get("height"))
    return None if width is None or height is None else (round(width), round(height))


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    """Return a finite float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12 or value != value:
        return None
    return float(value)


class _ImagePlaces:
    """Finds the image that a `file_name` means: beside its .json, at that path from any folder, or in the folder of its split."""

    def __init__(self, files: list[str]) -> None:
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for file in files:
            if is_image(file):
                self._by_name[PurePosixPath(file).name].append(file)

    def find(self, file_name: str, *, beside: str, split: str | None) -> str | None:
        wanted = PurePosixPath(file_name.replace("\\", "/"))
        candidates = self._by_name.get(wanted.name, [])
        direct = (PurePosixPath(beside).parent / wanted).as_posix()
        if direct in candidates:
            return direct
        ending = [file for file in candidates if f"/{file}".endswith(f"/{wanted.as_posix()}")] or candidates
        if len(ending) > 1:
            ending = [file for file in ending if split and _split_of(PurePosixPath(file).parent.as_posix()) == split]
        return ending[0] if len(ending) == 1 else None
