"""Annotations of the Penn-Fudan pedestrian database: one text file an image, "PASCAL Annotation Version 1.00".

Corners count from 1 and include the last pixel, so (160, 182) - (302, 431) becomes 159, 181, 302, 431.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from detection_core.data.health import HealthLog
from detection_core.data.raw import RawBox, RawDataset, RawImage, is_image
from detection_core.schemas.base import InvalidInput

CLASSES = ("person",)
_IMAGE = re.compile(r'^Image filename\s*:\s*"(?P<file>[^"]+)"', re.MULTILINE)
_SIZE = re.compile(r"^Image size \(X x Y x C\)\s*:\s*(?P<width>\d+)\s*x\s*(?P<height>\d+)", re.MULTILINE)
_BOX = re.compile(r"^Bounding box for object (?P<number>\d+).*:\s*\((\d+),\s*(\d+)\)\s*-\s*\((\d+),\s*(\d+)\)\s*$", re.MULTILINE)


def read_penn_fudan(root: Path, files: list[str], log: HealthLog) -> RawDataset:
    """Read every annotation under `root`; the data set has one class and no splits.

    Raises:
        InvalidInput: there is no annotation.
    """
    places = {PurePosixPath(file).name: file for file in files if is_image(file)}
    images = []
    for file in files:
        text = (root / file).read_text(encoding="utf-8", errors="replace") if file.endswith(".txt") else ""
        named = _IMAGE.search(text)
        if not named:
            continue
        place = places.get(PurePosixPath(named["file"]).name)
        if place is None:
            log.add("missing_image", named["file"], f"{file} describes it, but there is no such file", "its boxes were left out")
            continue
        size = _SIZE.search(text)
        images.append(RawImage(place, None, _boxes(text), size=(int(size["width"]), int(size["height"])) if size else None))
    if not images:
        raise InvalidInput("there is no annotation of the Penn-Fudan database; give the archive PennFudanPed.zip")
    return RawDataset(CLASSES, images)


def _boxes(text: str) -> list[RawBox]:
    boxes = []
    for match in _BOX.finditer(text):
        x1, y1, x2, y2 = (float(value) for value in match.groups()[1:])
        boxes.append(RawBox((x1 - 1, y1 - 1, x2, y2), 0, f"object {match['number']}"))
    return boxes
