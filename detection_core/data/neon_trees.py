"""The built-in data set `neon-trees`: real aerial photographs with tree crowns, out of the wheel deepforest 2.1.0 (MIT).

The wheel is downloaded once with pip, checked by its sha256, and only data files are taken out; the package is never installed or
imported. It carries four labelled photographs of the NEON network (951 boxes, 10 cm a pixel): two of Yellowstone, 2299x2472 and
1249x1035 pixels, and two of 400x400 (OSBS in Florida, SOAP in California). Alive and dead trees are one class.

Each photograph is cut into rectangles that do not overlap, and a rectangle with all its tiles belongs to one split, so no ground stands
in two of them: of the large photograph the lower fifth is test and the fifth above it val; of the second one the right two fifths
are test and the left fifth is val; the rest, OSBS and SOAP are train. Tiles of 256 pixels overlap by half in train, and not (but for a
few pixels where a side is no multiple of 256) in val and test. A tile keeps a box, clipped, if at least 40 % of it lies inside.
Training tiles without a tree are left out. The record's group is the rectangle.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.cache import made_once
from detection_core.data.canonical import content_hash, read_canonical, write_index
from detection_core.data.dataset import DetectionDataset, ImageRecord, Split
from detection_core.data.health import HealthLog
from detection_core.schemas.base import InvalidInput

WHEEL = "deepforest==2.1.0"
WHEEL_SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
WHEEL_VARIABLE = "PARETOBOX_DEEPFOREST_WHEEL"
TILE = 256
MIN_INSIDE = 0.4
_STRIDES: dict[Split, int] = {"train": 128, "val": 256, "test": 256}
_JPEG_QUALITY = 95
_LAYOUT_VERSION = 1
_DOWNLOAD_TIMEOUT_S = 600
_REMEDY = f"use the built-in data set fields, or set {WHEEL_VARIABLE} to the path of the wheel or of the folder that holds it"


@dataclass(frozen=True)
class Region:
    """A rectangle of a photograph, in pixels, and the split that its ground belongs to."""

    photograph: str
    split: Split
    left: int
    top: int
    right: int
    bottom: int


REGIONS = (
    Region("2019_YELL_2_528000_4978000_image_crop2", "train", 0, 0, 2299, 1448),
    Region("2019_YELL_2_528000_4978000_image_crop2", "val", 0, 1448, 2299, 1960),
    Region("2019_YELL_2_528000_4978000_image_crop2", "test", 0, 1960, 2299, 2472),
    Region("2019_YELL_2_541000_4977000_image_crop", "val", 0, 0, 256, 1035),
    Region("2019_YELL_2_541000_4977000_image_crop", "train", 256, 0, 737, 1035),
    Region("2019_YELL_2_541000_4977000_image_crop", "test", 737, 0, 1249, 1035),
    Region("OSBS_029", "train", 0, 0, 400, 400),
    Region("SOAP_061", "train", 0, 0, 400, 400),
)


def load_neon_trees(cache_dir: Path, options: dict[str, Any]) -> DetectionDataset:
    """Return the data set, made on the first call and kept under `cache_dir`.

    Raises:
        InvalidInput: the wheel cannot be had (it says what to do instead), or an option is given: there are none.
    """
    if options:
        raise InvalidInput(f"neon-trees has no option '{next(iter(options))}'; remove it")
    folder = made_once(cache_dir / "builtin" / f"neon-trees-{_LAYOUT_VERSION}", _make)
    return replace(read_canonical(folder), form="builtin")


def _make(folder: Path) -> None:
    (folder / "images").mkdir()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(io.BytesIO(_wheel(Path(scratch)))) as wheel:
        records = [record for region in REGIONS for record in _tiles(wheel, region, folder)]
    records = [replace(record, image_id=number) for number, record in enumerate(sorted(records, key=lambda item: item.file), start=1)]
    entry = DATASETS["neon-trees"]
    log = HealthLog()
    log.add("split_made", "neon-trees", "the photographs have no splits", "they were cut by place; no ground stands in two splits")
    dataset = DetectionDataset(
        name=entry.name,
        classes=entry.classes,
        records=tuple(records),
        root=folder,
        content_hash=content_hash(entry.classes, records),
        form="builtin",
        licence=entry.licence,
        source=entry.source,
        report=log.report(),
    )
    write_index(dataset)


def _wheel(scratch: Path) -> bytes:
    """Return the bytes of the wheel, checked."""
    named = os.environ.get(WHEEL_VARIABLE)
    path = _named_wheel(Path(named)) if named else _downloaded_wheel(scratch)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise InvalidInput(f"'{path.name}' is not the wheel {WHEEL} that neon-trees is made from (its sha256 differs); {_REMEDY}")
    return content


def _named_wheel(path: Path) -> Path:
    if path.is_dir():
        path = next(iter(sorted(path.glob("deepforest-2.1.0-*.whl"))), path / "deepforest-2.1.0-py3-none-any.whl")
    if not path.is_file():
        raise InvalidInput(f"{WHEEL_VARIABLE} names '{path}', which is not there; correct it, or unset it to download the wheel")
    return path


def _downloaded_wheel(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(scratch), WHEEL], capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"the wheel {WHEEL} with the photographs did not arrive in {_DOWNLOAD_TIMEOUT_S} s; {_REMEDY}") from None
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InvalidInput(f"the wheel {WHEEL} with the photographs could not be downloaded ({reason}); {_REMEDY}")
    return wheels[0]


def _tiles(wheel: zipfile.ZipFile, region: Region, folder: Path) -> Iterator[ImageRecord]:
    boxes = _boxes(wheel, region.photograph)
    with Image.open(io.BytesIO(wheel.read(f"deepforest/data/{region.photograph}.png"))) as opened:
        photograph = opened.convert("RGB")
    stride = _STRIDES[region.split]
    group = f"{region.photograph} {region.left},{region.top}-{region.right},{region.bottom}"
    for top in _starts(region.top, region.bottom, stride):
        for left in _starts(region.left, region.right, stride):
            inside = _boxes_inside(boxes, left, top)
            if len(inside) == 0 and region.split == "train":
                continue
            content = _jpeg(photograph.crop((left, top, left + TILE, top + TILE)))
            file = f"images/{region.split}_{region.photograph}_{left:04d}_{top:04d}.jpg"
            (folder / file).write_bytes(content)
            yield ImageRecord(
                image_id=0,
                file=file,
                width=TILE,
                height=TILE,
                split=region.split,
                group=group,
                sha256=hashlib.sha256(content).hexdigest(),
                boxes=inside,
                labels=np.zeros(len(inside), dtype=np.int64),
                iscrowd=np.zeros(len(inside), dtype=bool),
                area=np.prod(inside[:, 2:] - inside[:, :2], axis=1),
            )


def _starts(low: int, high: int, stride: int) -> list[int]:
    """Return where tiles begin so that they cover low..high evenly, about `stride` apart, and never reach beyond it."""
    count = max(round((high - low - TILE) / stride) + 1, 1)
    return [round(start) for start in np.linspace(low, high - TILE, count).tolist()]


def _boxes(wheel: zipfile.ZipFile, photograph: str) -> np.ndarray:
    tree = ElementTree.fromstring(wheel.read(f"deepforest/data/{photograph}.xml"))
    corners = [[float(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")] for item in tree.iter("object")]
    return np.array(corners, dtype=np.float64)


def _boxes_inside(boxes: np.ndarray, left: int, top: int) -> np.ndarray:
    moved = boxes - [left, top, left, top]
    clipped = np.clip(moved, 0, TILE)
    share = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    return clipped[share >= MIN_INSIDE]


def _jpeg(tile: Image.Image) -> bytes:
    buffer = io.BytesIO()
    tile.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
