"""From what a reader found to a checked data set: decoding, sizes, boxes, duplicates, splits. Nothing is dropped without a line."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags

from detection_core.data.canonical import content_hash
from detection_core.data.dataset import DECODE_ERRORS, MAX_PIXELS, DetectionDataset, Form, ImageRecord, Split, is_deep_mode, opened_image
from detection_core.data.health import HealthLog
from detection_core.data.raw import RawBox, RawDataset, RawImage, check_class_names
from detection_core.data.splits import assign_splits
from detection_core.schemas.base import InvalidInput

# Coordinates written with few digits overshoot the border by rounding; that much is clipped without a line in the report.
ROUNDING_PX = 0.05
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that exchange width and height
# Roboflow exports several altered copies of one photograph as NAME.rf.HASH.jpg.
_COPIES = re.compile(r"^(?P<stem>.+)\.rf\.[0-9a-f]{8,}$")
_HELD_OUT: dict[str | None, int] = {"test": 3, "val": 2, "train": 1, None: 0}


@dataclass(frozen=True)
class _Image:
    """An image that decodes, with its checked boxes."""

    raw: RawImage
    width: int
    height: int
    sha256: str
    boxes: list[RawBox]


def assemble(
    raw: RawDataset, root: Path, log: HealthLog, *, name: str, form: Form, seed: int = 0, keep_splits: bool = False
) -> DetectionDataset:
    """Check everything and build the data set.

    Args:
        raw: what the reader found under `root`.
        log: what the reader already reported; it becomes the data set's report.
        seed: of the splits that the data does not name.
        keep_splits: make no split that the data does not name; images in none go to train.

    Raises:
        InvalidInput: no image is left.
    """
    check_class_names(raw.classes, raw.named_in or f"data set '{name}'")
    if not raw.classes:
        raise InvalidInput(f"data set '{name}' has no class: {_first_reason(log)}; name the classes in a data.yaml, counted from 0")
    checked = [image for entry in sorted(raw.images, key=lambda item: item.file) if (image := _checked(entry, root, len(raw.classes), log))]
    images = _without_duplicates(checked, log)
    if not images:
        raise InvalidInput(f"data set '{name}' has no usable image: {_first_reason(log)}")
    groups = _groups(images)
    keys = [group or image.sha256 for group, image in zip(groups, images, strict=True)]
    if keep_splits:
        splits: list[Split] = [image.raw.split or "train" for image in images]  # type: ignore[misc]
    else:
        splits = assign_splits([image.raw.split for image in images], keys, seed=seed, log=log, where=name)
    report_shared_groups(groups, splits, log)
    records = tuple(
        _record(number, image, split, group)
        for number, (image, split, group) in enumerate(zip(images, splits, groups, strict=True), start=1)
    )
    return DetectionDataset(
        name=name,
        classes=raw.classes,
        records=records,
        root=root,
        content_hash=content_hash(raw.classes, records),
        form=form,
        licence=None,
        source=None,
        report=log.report(),
        source_categories=raw.source_categories,
    )


def checked_again(dataset: DetectionDataset) -> DetectionDataset:
    """Return a canonical data set that anybody may have written, after the checks that all others go through: files, sizes, boxes.

    Splits, groups and the report of its first reading stay; what is found now is added to it.
    """
    log = HealthLog(dataset.report, told_once=("converted_image", "group_in_two_splits"))
    images = [_raw_image(record) for record in dataset.records]
    categories = {category: label for category, label in dataset.source_categories.items() if 0 <= label < len(dataset.classes)}
    raw = RawDataset(dataset.classes, images, "dataset.json", categories)
    found = assemble(raw, dataset.root, log, name=dataset.name, form=dataset.form, keep_splits=True)
    return replace(found, licence=dataset.licence, source=dataset.source)


def _raw_image(record: ImageRecord) -> RawImage:
    rows = zip(record.boxes.tolist(), record.labels.tolist(), record.iscrowd.tolist(), record.area.tolist(), strict=True)
    boxes = [
        RawBox(tuple(box), label, f"box {number}", crowd, area if area > 0 else None)
        for number, (box, label, crowd, area) in enumerate(rows, start=1)
    ]
    return RawImage(record.file, record.split, boxes, size=(record.width, record.height), group=record.group, source_id=record.source_id)


def _checked(raw: RawImage, root: Path, classes: int, log: HealthLog) -> _Image | None:
    try:
        content = (root / raw.file).read_bytes()
        width, height, orientation, mode = _upright_size(root / raw.file)
    except DECODE_ERRORS as error:
        reason = str(error).replace(f"{root}/", "")
        log.add("undecodable_image", raw.file, f"the image cannot be decoded ({reason})", "the image was left out")
        return None
    if is_deep_mode(mode):
        log.add("converted_image", raw.file, f"it has more than 8 bits of grey (mode {mode})", "it is read as 8 bits (docs/data.md)")
    boxes = _in_pixels(raw, width, height, orientation, log)
    boxes = [kept for box in boxes if (kept := _checked_box(box, width, height, classes, raw.file, log))]
    return _Image(raw, width, height, hashlib.sha256(content).hexdigest(), _without_repeats(boxes, raw.file, log))


def _upright_size(path: Path) -> tuple[int, int, int, str]:
    """Return width and height after turning the image upright, its EXIF orientation and its mode; raises one of DECODE_ERRORS."""
    with opened_image(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width}x{height} are more than {MAX_PIXELS / 1e6:g} million pixels; cut it into tiles")
        mode = image.mode
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        image.draft("RGB", (max(width // 8, 1), max(height // 8, 1)))  # decodes all of a JPEG's stream, at an eighth of the size
        image.load()
        left = image.getexif().get(ExifTags.Base.Orientation, 1)  # Pillow turns a TIFF itself
    if left in _SIDEWAYS:
        width, height = height, width
    return width, height, left if left != 1 else orientation, mode


def _in_pixels(raw: RawImage, width: int, height: int, orientation: int, log: HealthLog) -> list[RawBox]:
    """Return the boxes in pixels of the upright image."""
    if raw.relative_boxes:
        return [_moved(box, (box.box[0] * width, box.box[1] * height, box.box[2] * width, box.box[3] * height)) for box in raw.boxes]
    if raw.size is None or raw.size == (width, height):
        return raw.boxes
    problem = f"the annotation says {raw.size[0]}x{raw.size[1]}, the file is {width}x{height}"
    if orientation in (6, 8) and raw.size == (height, width):
        log.add("size_differs", raw.file, problem + " once turned upright by its EXIF tag", "the boxes were turned with the image")
        return [_moved(box, _turned(box.box, width, height, orientation)) for box in raw.boxes]
    log.add("size_differs", raw.file, problem, "the file's size is used; the boxes were kept in pixels as written")
    return raw.boxes


def _turned(box: tuple[float, float, float, float], width: int, height: int, orientation: int) -> tuple[float, float, float, float]:
    """Turn a box of the stored pixels into the upright image of `width` x `height`."""
    x1, y1, x2, y2 = box
    if orientation == 6:  # stored pixels must be turned clockwise
        return width - y2, x1, width - y1, x2
    return y1, height - x2, y2, height - x1


def _checked_box(box: RawBox, width: int, height: int, classes: int, file: str, log: HealthLog) -> RawBox | None:
    x1, y1, x2, y2 = box.box
    shown = f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if not all(math.isfinite(value) for value in box.box):
        log.add("malformed_box", file, f"{box.where}: {shown} is not made of numbers", "the box was dropped")
        return None
    if not 0 <= box.label < classes:
        log.add("unknown_class", file, f"{box.where}: class {box.label} is not one of the {classes} classes", "the box was dropped")
        return None
    if x2 <= x1 or y2 <= y1:
        log.add("zero_size_box", file, f"{box.where}: {shown} has no area", "the box was dropped")
        return None
    clipped = (min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height))
    if clipped == box.box:
        return box
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        log.add("box_outside", file, f"{box.where}: {shown} lies wholly outside the image of {width}x{height}", "the box was dropped")
        return None
    if max(abs(new - old) for new, old in zip(clipped, box.box, strict=True)) > ROUNDING_PX:
        log.add(
            "box_outside", file, f"{box.where}: {shown} reaches beyond the image of {width}x{height}", "the box was clipped to the image"
        )
    return _moved(box, clipped)


def _moved(box: RawBox, coordinates: tuple[float, float, float, float]) -> RawBox:
    return RawBox(box=coordinates, label=box.label, where=box.where, crowd=box.crowd, area=box.area)


def _without_repeats(boxes: list[RawBox], file: str, log: HealthLog) -> list[RawBox]:
    seen: dict[tuple, RawBox] = {}
    for box in boxes:
        first = seen.setdefault((box.box, box.label, box.crowd), box)
        if first is not box:
            log.add("duplicate_annotation", file, f"{box.where} repeats {first.where}", "the second was dropped")
    return list(seen.values())


def _without_duplicates(images: list[_Image], log: HealthLog) -> list[_Image]:
    """Keep one of the images that have the same bytes: the one in the split held out most, test before val before train."""
    by_bytes: defaultdict[str, list[_Image]] = defaultdict(list)
    for image in images:
        by_bytes[image.sha256].append(image)
    kept = []
    for same in by_bytes.values():
        first = max(same, key=lambda image: _HELD_OUT[image.raw.split])
        kept.append(first)
        for other in same:
            if other is not first:
                _report_duplicate(first.raw, other.raw, log)
    return sorted(kept, key=lambda image: image.raw.file)


def _report_duplicate(first: RawImage, other: RawImage, log: HealthLog) -> None:
    what = "is listed twice" if first.file == other.file else f"has the same bytes as {first.file}"
    if first.split != other.split:
        problem = f"{what}, in two splits ({other.split or 'none'} and {first.split or 'none'})"
        log.add("image_in_two_splits", other.file, problem, f"it was kept in {first.split or 'none'} only")
    else:
        log.add("duplicate_image", other.file, what, "only the first was kept")


def _groups(images: list[_Image]) -> list[str | None]:
    """Return the group of every image: the one it carries, or copies of one photograph that Roboflow made, else None."""
    stems = [match["stem"] if (match := _COPIES.match(Path(image.raw.file).stem)) else None for image in images]
    counts = Counter(stems)
    copies = [stem if stem and counts[stem] > 1 else None for stem in stems]
    return [image.raw.group or copy for image, copy in zip(images, copies, strict=True)]


def report_shared_groups(groups: Sequence[str | None], splits: Sequence[Split], log: HealthLog) -> None:
    """Note every group of images that stands in more than one split: what is learned of it in one is known in the other."""
    found: defaultdict[str, set[Split]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        if group:
            found[group].add(split)
    for group, shared in sorted(found.items()):
        if len(shared) > 1:
            log.add("group_in_two_splits", group, f"images of one group stand in {' and '.join(sorted(shared))}", "they were kept as given")


def _record(number: int, image: _Image, split: Split, group: str | None) -> ImageRecord:
    boxes = np.array([box.box for box in image.boxes], dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    area = [box.area if box.area is not None else float(own) for box, own in zip(image.boxes, sides.prod(axis=1), strict=True)]
    return ImageRecord(
        image_id=number,
        file=image.raw.file,
        width=image.width,
        height=image.height,
        split=split,
        group=group,
        sha256=image.sha256,
        boxes=boxes,
        labels=np.array([box.label for box in image.boxes], dtype=np.int64),
        iscrowd=np.array([box.crowd for box in image.boxes], dtype=bool),
        area=np.array(area, dtype=np.float64),
        source_id=image.raw.source_id,
    )


def _first_reason(log: HealthLog) -> str:
    issues: Iterable = log.report().issues
    first = next(iter(issues), None)
    return f"{first.file}: {first.problem}; {first.action}" if first else "add images with their annotations"
