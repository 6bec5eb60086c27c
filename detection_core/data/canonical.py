"""The canonical form: a plain .tar with `dataset.json` and the image files, unaltered, under `images/`.

Equal data sets give equal bytes: members in order of file name, fixed times and owners, keys sorted (but `format` first, by which the
form is known), floats as Python's repr writes them (which reads back to the same number).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from detection_core.data.dataset import DetectionDataset, ImageRecord, Split
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import Sha256
from detection_core.schemas.results import HealthReport
from detection_core.schemas.text import is_storable

INDEX = "dataset.json"
FORMAT = "paretobox-dataset"
_HEAD = f'{{"format":"{FORMAT}",'.encode()


class CanonicalImage(Schema):
    """One image of `dataset.json`; `file` lies under `images/`."""

    file: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    split: Split
    group: str | None
    sha256: Sha256
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[int, ...]
    iscrowd: tuple[bool, ...]
    area: tuple[float, ...]
    source_id: int | None = None


class CanonicalIndex(Schema):
    """All of `dataset.json`."""

    format: str
    version: int
    name: str
    classes: tuple[str, ...] = Field(min_length=1)
    content_hash: Sha256
    licence: str | None
    source: str | None
    report: HealthReport
    images: tuple[CanonicalImage, ...] = Field(min_length=1)
    source_categories: tuple[tuple[int, int], ...] = ()  # category id of the COCO annotations, label


def content_hash(classes: Iterable[str], records: Iterable[ImageRecord]) -> str:
    """Return the sha256 (hex) of what a detector can see: classes and, per image, bytes, split, group, boxes, labels, crowd and area.

    Names, order and times of files do not count.
    """
    images = sorted(_dumps([record.sha256, record.split, record.group, *_annotation_lists(record)]) for record in records)
    digest = hashlib.sha256(_dumps(list(classes)).encode())
    for image in images:
        digest.update(b"\n" + image.encode())
    return digest.hexdigest()


def write_canonical(dataset: DetectionDataset, path: Path) -> None:
    """Write a data set as a canonical .tar; `path` appears by rename when it is complete.

    Raises:
        InvalidInput: an image file changed since the data set was read.
    """
    inner_names = _inner_names(dataset)
    index = _index(dataset, inner_names)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, INDEX, _index_text(index))
            for record, inner in zip(dataset.records, inner_names, strict=True):
                content = (dataset.root / record.file).read_bytes()
                if hashlib.sha256(content).hexdigest() != record.sha256:
                    raise InvalidInput(f"image '{record.file}' changed while the data set was in use; import it again")
                _add(tar, f"images/{inner}", content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_index(dataset: DetectionDataset) -> None:
    """Make a canonical folder of a data set's root, whose images already lie under `images/`."""
    (dataset.root / INDEX).write_bytes(_index_text(_index(dataset, _inner_names(dataset))))


def read_canonical(folder: Path) -> DetectionDataset:
    """Read an unpacked canonical data set.

    Raises:
        InvalidInput: the index is broken, names a class or a file twice, a file is missing, or the content is not what its hash says.
    """
    try:
        text = (folder / INDEX).read_bytes()
    except OSError:
        raise InvalidInput(f"there is no {INDEX}; give a canonical data set of this project") from None
    index = CanonicalIndex.parse(text)
    if index.format != FORMAT or index.version != 1:
        raise InvalidInput(f"{INDEX}: format '{index.format}' version {index.version} is not known; import the original data again")
    if len(set(index.classes)) != len(index.classes):
        raise InvalidInput(f"{INDEX} names a class twice; import the original data again")
    _check_files(index.images, folder)
    records = tuple(_record(number, image, folder, index.classes) for number, image in enumerate(index.images, start=1))
    if content_hash(index.classes, records) != index.content_hash:
        raise InvalidInput(f"{INDEX} was altered: its content does not have the hash it names; import the original data again")
    return DetectionDataset(
        name=index.name,
        classes=index.classes,
        records=records,
        root=folder,
        content_hash=index.content_hash,
        form="canonical",
        licence=index.licence,
        source=index.source,
        report=index.report,
        source_categories=dict(index.source_categories),
    )


def is_canonical(folder: Path) -> bool:
    """Say whether a folder holds a canonical data set; one written before `format` stood first is known too."""
    path = folder / INDEX
    if path.is_symlink() or not path.is_file() or not (folder / "images").is_dir():
        return False
    with path.open("rb") as file:
        if file.read(len(_HEAD)) == _HEAD:
            return True
        file.seek(0)
        try:
            content = json.load(file)
        except (ValueError, RecursionError):
            return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _check_files(images: Iterable[CanonicalImage], folder: Path) -> None:
    """Every file is named once, in one way, and lies under images/ once links are followed."""
    inside, seen = folder.resolve() / "images", set()
    for image in images:
        path = inside / image.file
        plain = PurePosixPath(image.file).as_posix() == image.file and is_storable(image.file)
        if not plain or not path.is_file() or path.resolve() != path or not path.is_relative_to(inside):
            raise InvalidInput(f"{INDEX} lists image '{image.file}', which is not under images/; import the original data again")
        if image.file in seen:
            raise InvalidInput(f"{INDEX} lists image '{image.file}' twice; import the original data again")
        seen.add(image.file)


def _record(number: int, image: CanonicalImage, folder: Path, classes: tuple[str, ...]) -> ImageRecord:
    path = PurePosixPath(image.file)
    count = len(image.boxes)
    if {len(image.labels), len(image.iscrowd), len(image.area)} != {count}:
        raise InvalidInput(f"{INDEX}: image '{image.file}' does not have as many labels as boxes; import the original data again")
    if any(not 0 <= label < len(classes) for label in image.labels):
        raise InvalidInput(f"{INDEX}: image '{image.file}' has a label beyond the {len(classes)} classes; import the original data again")
    if hashlib.sha256((folder / "images" / path).read_bytes()).hexdigest() != image.sha256:
        raise InvalidInput(f"image '{image.file}' is not the one that {INDEX} names; import the original data again")
    return ImageRecord(
        image_id=number,
        file=f"images/{image.file}",
        width=image.width,
        height=image.height,
        split=image.split,
        group=image.group,
        sha256=image.sha256,
        boxes=np.array(image.boxes, dtype=np.float64).reshape(count, 4),
        labels=np.array(image.labels, dtype=np.int64),
        iscrowd=np.array(image.iscrowd, dtype=bool),
        area=np.array(image.area, dtype=np.float64),
        source_id=image.source_id,
    )


def _inner_names(dataset: DetectionDataset) -> list[str]:
    # What lies in canonical form already is written under the same names again.
    return [dataset.shown_file(record) for record in dataset.records]


def _index(dataset: DetectionDataset, inner_names: list[str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": 1,
        "name": dataset.name,
        "classes": list(dataset.classes),
        "content_hash": dataset.content_hash,
        "licence": dataset.licence,
        "source": dataset.source,
        "report": dataset.report.to_dict(),
        "images": [_image_entry(record, inner) for record, inner in zip(dataset.records, inner_names, strict=True)],
        **({"source_categories": sorted(dataset.source_categories.items())} if dataset.source_categories else {}),
    }


def _image_entry(record: ImageRecord, inner: str) -> dict[str, Any]:
    boxes, labels, iscrowd, area = _annotation_lists(record)
    return {
        "file": inner,
        "width": record.width,
        "height": record.height,
        "split": record.split,
        "group": record.group,
        "sha256": record.sha256,
        "boxes": boxes,
        "labels": labels,
        "iscrowd": iscrowd,
        "area": area,
        **({} if record.source_id is None else {"source_id": record.source_id}),
    }


def _annotation_lists(record: ImageRecord) -> tuple[list[list[float]], list[int], list[bool], list[float]]:
    # Adding 0.0 turns a negative zero into zero, which is equal but prints differently.
    return (record.boxes + 0.0).tolist(), record.labels.tolist(), record.iscrowd.tolist(), (record.area + 0.0).tolist()


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _index_text(index: dict[str, Any]) -> bytes:
    """Return the text of the index: `format` first, then the other keys sorted."""
    return _HEAD + _dumps({key: value for key, value in index.items() if key != "format"})[1:].encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(content))
