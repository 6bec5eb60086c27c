"""YOLO form: one .txt of `class cx cy w h` rows in 0..1 for every image, in labels/ next to images/ or beside the image."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from detection_core.data.health import HealthLog
from detection_core.data.raw import MAX_CLASSES, RawBox, RawDataset, RawImage, is_image
from detection_core.data.splits import split_named
from detection_core.data.yolo_names import read_names

_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt")
_LIST_SUFFIXES = (".yaml", ".yml", ".names", ".labels")


@dataclass(frozen=True)
class YoloFiles:
    """Images with the label file of each (None where there is none), and label files without an image."""

    labels_of: dict[str, str | None]
    orphans: list[str]


def find_yolo(root: Path, files: list[str]) -> YoloFiles | None:
    """Pair images with label files; None where no label file has a row of numbers in the form."""
    present = set(files)
    labels_of: dict[str, str | None] = {}
    for image in files:
        if is_image(image):
            labels_of[image] = next((place for place in _label_places(image) if place in present), None)
    used = {label for label in labels_of.values() if label}
    if not any(_looks_like_labels(root / label) for label in used):
        return None
    folders = {PurePosixPath(label).parent for label in used}
    texts = [file for file in files if file.endswith(".txt") and file not in used]
    orphans = [
        file
        for file in texts
        if "labels" in PurePosixPath(file).parts[:-1] or (PurePosixPath(file).parent in folders and _looks_like_labels(root / file))
    ]
    return YoloFiles(labels_of, [file for file in orphans if PurePosixPath(file).name not in _NAME_LISTS])


def read_yolo(root: Path, found: YoloFiles, files: list[str], log: HealthLog) -> RawDataset:
    """Read every label file. Absolute or broken paths in the .yaml are not used: the split is in the folders' names or in list files."""
    names, named_in = _names(root, files, log)
    lists = _split_lists(root, files)
    images, highest = [], -1
    counts = Counter(PurePosixPath(file).name for file in found.labels_of)
    for file, label_file in found.labels_of.items():
        boxes: list[RawBox] = []
        if label_file is None:
            log.add("image_without_labels", file, "there is no label file for it", "the image was kept as one without objects")
        else:
            boxes = _rows(root / label_file, label_file, file, log)
        highest = max([highest, *(box.label for box in boxes)])
        listed, placed = lists.get(PurePosixPath(file).name), _split_of(file)
        # Lists are read by file name alone; where several folders hold that name, the folder tells more.
        split = listed or placed if counts[PurePosixPath(file).name] == 1 else placed or listed
        images.append(RawImage(file, split, boxes, relative_boxes=True))
    for label_file in found.orphans:
        log.add("missing_image", label_file, "there is no image for this label file", "its boxes were left out")
    if names is None:
        names = tuple(f"class {index}" for index in range(highest + 1))
        if names:
            log.add("no_class_names", "data.yaml", "no file names the classes", f"they were called {', '.join(names[:3])} and so on")
    return RawDataset(names, images, named_in)


def _label_places(image: str) -> list[str]:
    """Return where the labels of an image may lie: the last folder called images replaced by labels, or beside it."""
    path = PurePosixPath(image)
    places = [path.with_suffix(".txt").as_posix()]
    parts = list(path.parts[:-1])
    for index in range(len(parts) - 1, -1, -1):
        if parts[index].lower() == "images":
            places.insert(0, PurePosixPath(*parts[:index], "labels", *parts[index + 1 :], path.stem + ".txt").as_posix())
            break
    return places


def _looks_like_labels(path: Path) -> bool:
    first = next((line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()), None)
    if first is None or len(first) < 5 or not first[0].removeprefix("-").isdigit():
        return False
    return all(_float(value) is not None for value in first)


def _names(root: Path, files: list[str], log: HealthLog) -> tuple[tuple[str, ...] | None, str]:
    """Return the names of the classes, if there are any, and the file they stand in."""
    for file in sorted(files, key=lambda name: (name.count("/"), name)):
        text = ""
        if PurePosixPath(file).suffix.lower() in (".yaml", ".yml") or PurePosixPath(file).name in _NAME_LISTS:
            text = (root / file).read_text(encoding="utf-8-sig", errors="replace")
        if PurePosixPath(file).suffix.lower() in (".yaml", ".yml"):
            names = read_names(text)
            if names:
                return names, file
            log.add("unreadable_names", file, "it has no list 'names' that counts from 0", "the file was not used")
        elif text.strip():
            return tuple(line.strip() for line in text.splitlines() if line.strip()), file
    return None, ""


def _split_lists(root: Path, files: list[str]) -> dict[str, str]:
    """Return image name -> split out of list files such as train.txt, as Darknet uses them."""
    lists: dict[str, str] = {}
    for file in files:
        path = PurePosixPath(file)
        split = split_named(path.stem) if path.suffix == ".txt" and "labels" not in path.parts else None
        if split and len(path.parts) <= 3:
            lines = (root / file).read_text(encoding="utf-8", errors="replace").splitlines()
            lists.update({PurePosixPath(line.strip().replace("\\", "/")).name: split for line in lines if is_image(line.strip())})
    return lists


def _split_of(file: str) -> str | None:
    return next((split for part in reversed(PurePosixPath(file).parts[:-1]) if (split := split_named(part))), None)


def _rows(path: Path, label_file: str, image: str, log: HealthLog) -> list[RawBox]:
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        where = f"{label_file} row {number}"
        polygon = len(columns) >= 7 and len(columns) % 2 == 1
        values = [_float(value) for value in columns]
        if len(columns) != 5 and not polygon:
            log.add("malformed_row", image, f"{where} has {len(columns)} columns, not 5", "the row was dropped")
        elif None in values or values[0] != int(values[0] or 0):
            log.add(
                "malformed_row", image, f"{where} ('{line.strip()[:60]}') is not a whole class number and numbers", "the row was dropped"
            )
        elif not 0 <= float(columns[0]) < MAX_CLASSES:
            problem = f"{where}: class {columns[0][:20]} is no class number from 0 to {MAX_CLASSES - 1:,}"
            log.add("unknown_class", image, problem, "the row was dropped")
        else:
            numbers = [value for value in values if value is not None]
            if polygon:
                log.add("polygon_row", image, f"{where} is an outline of {len(columns) // 2} points", "the box around it was taken")
            boxes.append(RawBox(_outline_box(numbers[1:]) if polygon else _centre_box(numbers[1:]), int(numbers[0]), where))
    return boxes


def _centre_box(values: list[float]) -> tuple[float, float, float, float]:
    cx, cy, width, height = values
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _outline_box(values: list[float]) -> tuple[float, float, float, float]:
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
