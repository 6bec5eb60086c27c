"""Small data sets on disk for the tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detection_core.data.dataset import DetectionDataset
from detection_core.data.load import load_dataset


def write_image(path: Path, *, width: int = 64, height: int = 48, seed: int = 0, exif: Image.Exif | None = None) -> Path:
    """Write a small picture whose bytes depend on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **({"exif": exif} if exif else {}))
    return path


def write_coco(
    root: Path,
    annotations: list[dict[str, Any]],
    *,
    images: int = 3,
    split: str = "train",
    categories: tuple[tuple[int, str], ...] = ((3, "cat"), (7, "dog")),
    listed: list[dict[str, Any]] | None = None,
    first_seed: int = 0,
) -> None:
    """Write `images` pictures under root/split and the file root/annotations/instances_<split>.json."""
    rows = []
    for index in range(images):
        write_image(root / split / f"{index:03d}.jpg", seed=first_seed + index)
        rows.append({"id": index, "file_name": f"{index:03d}.jpg", "width": 64, "height": 48})
    content = {
        "images": rows if listed is None else listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def box(image_id: int, bbox: list[Any], *, category: int = 3, **more: Any) -> dict[str, Any]:
    """One row of COCO annotations, without an id."""
    return {"image_id": image_id, "category_id": category, "bbox": bbox, "iscrowd": 0, **more}


def write_yolo(root: Path, rows: dict[str, str], *, yaml: str | None = "names: [crop, weed]\n") -> None:
    """Write images/<key>.png and labels/<key>.txt; the key may hold a split, as in train/a."""
    for index, (key, text) in enumerate(rows.items()):
        write_image(root / "images" / f"{key}.png", seed=100 + index)
        label = root / "labels" / f"{key}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)


def write_voc(root: Path, objects: dict[str, str], *, size: tuple[int, int] = (64, 48)) -> None:
    """Write JPEGImages/<key>.jpg and Annotations/<key>.xml with the given object elements."""
    for index, (key, text) in enumerate(objects.items()):
        write_image(root / "JPEGImages" / f"{key}.jpg", seed=200 + index)
        path = root / "Annotations" / f"{key}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"<filename>{key}.jpg</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        path.write_text(f"<annotation>{head}{text}</annotation>")


def voc_object(name: str, x1: Any, y1: Any, x2: Any, y2: Any, *, difficult: int = 0) -> str:
    """One object element."""
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def load(root: Path, **options: Any) -> DetectionDataset:
    """Load a folder with its splits kept as given, unless asked otherwise."""
    return load_dataset(str(root), cache_dir=root.parent / "cache", options={"keep_splits": True, **options})


def problems(dataset: DetectionDataset, file: str) -> list[str]:
    """What the report says of one file."""
    return [issue.problem for issue in dataset.report.issues if issue.file == file]
