"""The built-in data set `fields`: generated photographs of crop rows with weeds, made from a seed.

It is meant to be hard enough to tell detectors apart: the colours of crop and weed overlap, some weeds stand in the rows and cover crop
plants, objects measure from about 6 to 80 pixels, most of them under 32, and from 30 m the shape of a leaf can hardly be seen.
Images come in places of four that share soil, light and growth; a place lies in one split only (the record's group).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field as Constraint

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.cache import made_once
from detection_core.data.canonical import content_hash, read_canonical, write_index
from detection_core.data.dataset import SPLITS, DetectionDataset, ImageRecord, Split
from detection_core.data.scenes import grow, photograph, px_per_metre, random_field, soil_texture
from detection_core.schemas.base import Schema
from detection_core.schemas.results import HealthReport

# Part of the cache key: raise it when a change here changes the pictures.
GENERATOR_VERSION = 1
IMAGES_PER_PLACE = 4
JPEG_QUALITY = 92


class FieldsOptions(Schema):
    """What `fields` may be asked for. Altitudes are dealt over the images of a split in turn; from 40 m, which
    can be asked for, a plant is 6 to 20 pixels wide."""

    seed: int = Constraint(default=0, ge=0, lt=2**31)
    train: int = Constraint(default=240, ge=0, le=100_000)
    val: int = Constraint(default=60, ge=0, le=100_000)
    test: int = Constraint(default=80, ge=0, le=100_000)
    size: int = Constraint(default=320, ge=64, le=2048)
    altitude_m: tuple[float, ...] = Constraint(default=(10.0, 15.0, 20.0, 30.0), min_length=1)


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a clip: image uint8 [size, size, 3], boxes float64 [n, 4] xyxy, labels [n], and the number of each plant, which it
    keeps through the clip."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray


def load_fields(cache_dir: Path, options: dict[str, Any]) -> DetectionDataset:
    """Return the data set, generated on the first call with these options (FieldsOptions) and kept under `cache_dir`.

    Raises:
        InvalidInput: an option is not known or out of range.
    """
    wanted = FieldsOptions.parse(options)
    key = hashlib.sha256(json.dumps([GENERATOR_VERSION, wanted.to_dict()], sort_keys=True).encode()).hexdigest()[:24]
    folder = made_once(cache_dir / "builtin" / f"fields-{key}", lambda temporary: _generate(temporary, wanted))
    return replace(read_canonical(folder), form="builtin")


def fields_clip(
    *, seed: int = 0, frames: int = 60, size: int = 320, altitude_m: float = 20.0, pixels_per_frame: float = 3.0, heading: float = 0.3
) -> Iterator[ClipFrame]:
    """Yield a motion clip with ground truth: one scene, a camera that flies over it at a steady speed.

    Args:
        pixels_per_frame: how far the camera moves between two frames.
        heading: its direction, radians clockwise from the right.
    """
    rng = np.random.default_rng([seed, 3])
    field = random_field(rng)
    scale = px_per_metre(altitude_m)
    steps = np.rint(np.arange(frames)[:, None] * pixels_per_frame * np.array([np.cos(heading), np.sin(heading)])).astype(int)
    steps -= steps.min(axis=0)
    width, height = (steps.max(axis=0) + size).tolist()
    plants = grow(field, width_m=width / scale, height_m=height / scale, rng=rng)
    ground = soil_texture(field, width=width, height=height, px_per_m=scale, rng=rng)
    for left, top in steps.tolist():
        part = ground[top : top + size, left : left + size].copy()
        view = photograph(field, plants, part, left_m=left / scale, top_m=top / scale, size=size, px_per_m=scale, rng=rng)
        yield ClipFrame(view.image, view.boxes, view.labels, view.plants)


def _generate(folder: Path, options: FieldsOptions) -> None:
    (folder / "images").mkdir()
    records = []
    for split in SPLITS:
        for index in range(getattr(options, split)):
            records.append(_make_image(folder, options, split, index))
    records = [replace(record, image_id=number) for number, record in enumerate(sorted(records, key=lambda item: item.file), start=1)]
    entry = DATASETS["fields"]
    dataset = DetectionDataset(
        name=entry.name,
        classes=entry.classes,
        records=tuple(records),
        root=folder,
        content_hash=content_hash(entry.classes, records),
        form="builtin",
        licence=entry.licence,
        source=f"{entry.source}, version {GENERATOR_VERSION}, {options.model_dump_json()}",
        report=HealthReport(),
    )
    write_index(dataset)


def _make_image(folder: Path, options: FieldsOptions, split: Split, index: int) -> ImageRecord:
    number = SPLITS.index(split)
    place = index // IMAGES_PER_PLACE
    field = random_field(np.random.default_rng([options.seed, 1, number, place]))
    rng = np.random.default_rng([options.seed, 2, number, index])
    altitude = options.altitude_m[index % len(options.altitude_m)]
    scale = px_per_metre(altitude)
    side_m = options.size / scale
    plants = grow(field, width_m=side_m, height_m=side_m, rng=rng)
    ground = soil_texture(field, width=options.size, height=options.size, px_per_m=scale, rng=rng)
    view = photograph(field, plants, ground, left_m=0.0, top_m=0.0, size=options.size, px_per_m=scale, rng=rng)
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    file = f"images/{split}_{index:05d}_{altitude:g}m.jpg"
    (folder / file).write_bytes(buffer.getvalue())
    sides = view.boxes[:, 2:] - view.boxes[:, :2]
    return ImageRecord(
        image_id=0,
        file=file,
        width=options.size,
        height=options.size,
        split=split,
        group=f"{split} place {place}",
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        boxes=view.boxes,
        labels=view.labels,
        iscrowd=np.zeros(len(view.labels), dtype=bool),
        area=sides.prod(axis=1),
    )
