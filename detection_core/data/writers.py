"""A data set in the form that other tools read: COCO, YOLO or Pascal VOC, as the members of an archive, one after the other.

Whoever writes the archive asks for an image's bytes only when its turn comes, and the text of a COCO file is made image by image, so no
more than one image with its boxes is in memory; the site streams the same archive out of its index.

What the forms can say differs. COCO: everything, boxes to the last bits. YOLO: boxes to 1e-9 of the image's side; crowd boxes are left out,
the area of a segment is lost. VOC: boxes to 0.005 pixels, counted from 0 as everywhere here; crowd boxes become `difficult`; the area of a
segment is lost; a class without boxes is not named. Groups are in none of them.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args
from xml.sax.saxutils import escape

import numpy as np

from detection_core.data.dataset import SPLITS, DetectionDataset
from detection_core.schemas.base import InvalidInput

WrittenForm = Literal["coco", "yolo", "voc"]
FORMS: tuple[WrittenForm, ...] = get_args(WrittenForm)
README = "README.txt"
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ExportImage:
    """One image with its objects: `file` as a posix path, unique in the data set; `boxes` [n, 4] xyxy in pixels; `labels` [n], counted
    from 0; `iscrowd` bool [n]; `area` [n] in square pixels."""

    file: str
    width: int
    height: int
    split: str
    boxes: np.ndarray
    labels: np.ndarray
    iscrowd: np.ndarray
    area: np.ndarray

    def rows(self) -> Iterator[tuple[list[float], int, bool, float]]:
        """Yield box, label, crowd and area of each object."""
        yield from zip(self.boxes.tolist(), self.labels.tolist(), self.iscrowd.tolist(), self.area.tolist(), strict=True)


# Makes the pieces of a text that may be too large to hold; it is called twice, since an archive tells the size of a member first.
Pieces = Callable[[], Iterator[bytes]]
# A member's name, and its bytes, what makes them, or the image whose file goes there unaltered.
Member = tuple[str, bytes | Pieces | ExportImage]


def export_images(dataset: DetectionDataset) -> list[ExportImage]:
    """Return the images of a data set as the writers take them; `file` is the path under its root."""
    return [
        ExportImage(
            file=record.file,
            width=record.width,
            height=record.height,
            split=record.split,
            boxes=record.boxes,
            labels=record.labels,
            iscrowd=record.iscrowd,
            area=record.area,
        )
        for record in dataset.records
    ]


def members(
    form: WrittenForm, *, name: str, classes: Sequence[str], images: Sequence[ExportImage], licence: str = "", source: str = ""
) -> Iterator[Member]:
    """Yield the members of an archive in `form`, among them `README.txt` with what the form cannot say.

    Args:
        form: coco, yolo or voc.
        name: what the data set is called.
        classes: names in label order.
        images: in the order of the data set, since COCO's image ids count them from 1; they are gone through several times. Their files
            are renamed where two would have one name without their folders.
        licence: of the data, as far as it is known.
        source: where the data comes from.

    Raises:
        InvalidInput: `form` is not one of the three.
    """
    if form not in FORMS:
        raise InvalidInput(f"'{form}' is no form that data sets are written in; use one of {', '.join(FORMS)}")
    places = dict(zip((image.file for image in images), _flat_names([image.file for image in images]), strict=True))
    yield README, _readme(form, name, images, licence, source).encode()
    writer = {"coco": _coco, "yolo": _yolo, "voc": _voc}[form]
    yield from writer(classes, images, places, {"description": name, "licence": licence, "url": source})


def tar_chunks(content: Iterable[Member], read: Callable[[ExportImage], bytes]) -> Iterator[bytes]:
    """Yield the bytes of a plain .tar with these members, one member or piece of one after the other; equal members give equal bytes.

    Args:
        read: returns the bytes of an image's file.
    """
    for name, entry in content:
        pieces, size = _pieces(entry, read)
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from pieces
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _pieces(entry: bytes | Pieces | ExportImage, read: Callable[[ExportImage], bytes]) -> tuple[Iterable[bytes], int]:
    """Return the pieces of a member and the sum of their sizes."""
    if callable(entry):
        return entry(), sum(map(len, entry()))
    content = entry if isinstance(entry, bytes) else read(entry)
    return (content,), len(content)


def write_form(dataset: DetectionDataset, form: WrittenForm, path: Path) -> None:
    """Write a data set as a .tar in one of the three forms; `path` appears by rename when it is complete.

    Raises:
        InvalidInput: the form is not known, or an image file is gone.
    """
    content = members(
        form,
        name=dataset.name,
        classes=dataset.classes,
        images=export_images(dataset),
        licence=dataset.licence or "",
        source=dataset.source or "",
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            for chunk in tar_chunks(content, lambda image: _file_bytes(dataset.root, image)):
                stream.write(chunk)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _file_bytes(root: Path, image: ExportImage) -> bytes:
    try:
        return (root / image.file).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"image '{image.file}' is not there any more; restore the file and write the data set again") from None


def _coco(classes: Sequence[str], images: Sequence[ExportImage], places: dict[str, str], told: dict[str, str]) -> Iterator[Member]:
    for split in _splits(images):
        yield f"annotations/instances_{split}.json", partial(_coco_text, classes, images, split, places, told)
    for image in images:
        yield f"{image.split}/{places[image.file]}", image


def _coco_text(
    classes: Sequence[str], images: Sequence[ExportImage], split: str, places: dict[str, str], told: dict[str, str]
) -> Iterator[bytes]:
    """Yield the text of one split's file, image by image."""
    yield f'{{"info":{_json(told)},"licenses":[],"images":['.encode()
    yield from _listed(_coco_image(number, image, places) for number, image in _numbered(images, split))
    yield b'],"annotations":['
    yield from _listed(_coco_boxes(images, split))
    categories = [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]
    yield f'],"categories":{_json(categories)}}}'.encode()


def _numbered(images: Sequence[ExportImage], split: str) -> Iterator[tuple[int, ExportImage]]:
    """Yield the images of a split with their ids: places in the whole data set, so that a results file on this export can be scored
    against the data set itself."""
    return ((number, image) for number, image in enumerate(images, start=1) if image.split == split)


def _coco_image(number: int, image: ExportImage, places: dict[str, str]) -> str:
    return _json({"id": number, "file_name": places[image.file], "width": image.width, "height": image.height})


def _coco_boxes(images: Sequence[ExportImage], split: str) -> Iterator[str]:
    """Yield the annotations of each image that has some, joined."""
    count = 0
    for number, image in _numbered(images, split):
        rows = []
        for (x1, y1, x2, y2), label, crowd, area in image.rows():
            count += 1
            row = {"id": count, "image_id": number, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            rows.append(_json({**row, "area": area, "iscrowd": int(crowd)}))
        if rows:
            yield ",".join(rows)


def _listed(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield texts with commas between them."""
    for place, text in enumerate(texts):
        yield f"{',' if place else ''}{text}".encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _yolo(classes: Sequence[str], images: Sequence[ExportImage], places: dict[str, str], told: dict[str, str]) -> Iterator[Member]:
    yield "data.yaml", _yolo_names(classes, _splits(images), told).encode()
    for image in images:
        place = PurePosixPath(image.split, places[image.file])
        yield f"labels/{place.with_suffix('.txt')}", "".join(_yolo_rows(image)).encode()
        yield f"images/{place}", image


def _yolo_names(classes: Sequence[str], splits: Sequence[str], told: dict[str, str]) -> str:
    about = [f"# {key}: {' '.join(value.split())}" for key, value in told.items() if value]
    folders = [f"{split}: images/{split}" for split in splits]
    names = [f"  {label}: {json.dumps(name, ensure_ascii=False)}" for label, name in enumerate(classes)]
    return "\n".join([*about, "path: .", *folders, f"nc: {len(classes)}", "names:", *names, ""])


def _yolo_rows(image: ExportImage) -> Iterator[str]:
    for (x1, y1, x2, y2), label, crowd, _ in image.rows():
        if not crowd:
            values = ((x1 + x2) / 2 / image.width, (y1 + y2) / 2 / image.height, (x2 - x1) / image.width, (y2 - y1) / image.height)
            yield f"{label} " + " ".join(f"{value:.10g}" for value in values) + "\n"


def _voc(classes: Sequence[str], images: Sequence[ExportImage], places: dict[str, str], told: dict[str, str]) -> Iterator[Member]:
    for split in _splits(images):
        lines = [PurePosixPath(places[image.file]).stem for _, image in _numbered(images, split)]
        yield f"ImageSets/Main/{split}.txt", ("\n".join(lines) + "\n").encode()
    for image in images:
        place = places[image.file]
        yield f"Annotations/{PurePosixPath(place).stem}.xml", _voc_text(classes, image, place, told["description"]).encode()
        yield f"JPEGImages/{place}", image


def _voc_text(classes: Sequence[str], image: ExportImage, place: str, name: str) -> str:
    head = (
        f"<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{_xml(place)}</filename>\n"
        f"  <source><database>{_xml(name)}</database></source>\n"
        f"  <size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>\n  <segmented>0</segmented>\n"
    )
    return head + "".join(_voc_objects(classes, image)) + "</annotation>\n"


def _voc_objects(classes: Sequence[str], image: ExportImage) -> Iterator[str]:
    for box, label, crowd, _ in image.rows():
        corners = "".join(f"<{key}>{_pixels(value)}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        yield (
            f"  <object><name>{_xml(classes[label])}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>{int(crowd)}</difficult><bndbox>{corners}</bndbox></object>\n"
        )


def _pixels(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("?", text))


def _splits(images: Sequence[ExportImage]) -> list[str]:
    found = {image.split for image in images}
    return [split for split in SPLITS if split in found]


def _flat_names(files: Sequence[str]) -> list[str]:
    """Return a name without folders for each file: all stems differ, also where letters' case does not count, and hold no space."""
    stems = Counter(_stem(PurePosixPath(file).name) for file in files)
    taken: set[str] = set()
    names = []
    for file in files:
        path = PurePosixPath(_joined(file) if stems[_stem(PurePosixPath(file).name)] > 1 else _joined(PurePosixPath(file).name))
        name, number = path, 2
        while _stem(name.name) in taken:
            name, number = path.with_stem(f"{path.stem}-{number}"), number + 1
        taken.add(_stem(name.name))
        names.append(name.name)
    return names


def _joined(file: str) -> str:
    """Return a path as one word: folders are joined by two underscores, spaces become one."""
    return "_".join(file.replace("/", "__").split())


def _stem(name: str) -> str:
    return PurePosixPath(_joined(name)).stem.lower()


def _readme(form: WrittenForm, name: str, images: Sequence[ExportImage], licence: str, source: str) -> str:
    boxes, crowds = sum(len(image.labels) for image in images), sum(int(image.iscrowd.sum()) for image in images)
    lines = [f"{name}: {len(images)} images, {boxes} boxes.", f"Licence: {licence or 'not told'}.", f"Source: {source or 'not told'}."]
    if form == "yolo" and crowds:
        lines.append(f"YOLO knows no crowd boxes: {crowds} of the boxes were left out.")
    if form == "voc":
        lines.append(f"Coordinates count from 0 and are rounded to 0.01 pixels; {crowds} crowd boxes are marked difficult.")
    return "\n".join([*lines, ""])
