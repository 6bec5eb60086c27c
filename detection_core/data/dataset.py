"""A detection data set in memory: records of images with their boxes, whatever form the files had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import HealthReport, SplitSummary

Split = Literal["train", "val", "test"]
Form = Literal["coco", "yolo", "voc", "canonical", "builtin"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Only these decoders are let near a file that somebody uploaded.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# Larger pictures are left out at import: one takes 4 bytes a pixel wherever it is decoded, in the site's process too.
MAX_PIXELS = 100_000_000
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image and its objects.

    `image_id` counts from 1 in the order of file names over the whole data set. `file` is a posix path under the data set's root.
    `group` names images that belong together (one place, one flight, copies of one photograph) and never stand in two splits.
    `boxes` float64 [n, 4] xyxy in pixels of the upright image, inside it; `labels` int64 [n] 0-based; `iscrowd` bool [n];
    `area` float64 [n] square pixels (of the segment where the source tells it, else of the box). `source_id` is the id that the COCO
    annotations gave it, from which the data set was read.
    """

    image_id: int
    file: str
    width: int
    height: int
    split: Split
    group: str | None
    sha256: str
    boxes: np.ndarray
    labels: np.ndarray
    iscrowd: np.ndarray
    area: np.ndarray
    source_id: int | None = None


@dataclass(frozen=True, eq=False)
class DetectionDataset:
    """Images of up to three splits with boxes of `classes`; `content_hash` names what a detector can see of it.

    `source_categories` gives the label of each category id of the COCO annotations from which it was read.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    root: Path
    content_hash: str
    form: Form
    licence: str | None
    source: str | None
    report: HealthReport
    source_categories: Mapping[int, int] = field(default_factory=dict)

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """Return the records of a split, which may be empty; InvalidInput where `name` is no split."""
        if name not in SPLITS:
            raise InvalidInput(f"'{name}' is not a split; use one of {', '.join(SPLITS)}")
        return tuple(record for record in self.records if record.split == name)

    def require_split(self, name: str) -> tuple[ImageRecord, ...]:
        """Return the records of a split; InvalidInput where the data set has none of it."""
        records = self.split(name)
        if not records:
            present = [split for split in SPLITS if self.split(split)]
            raise InvalidInput(
                f"data set '{self.name}' has no {name} split; it has {' and '.join(present)}: use one of them or add {name} images"
            )
        return records

    def shown_file(self, record: ImageRecord) -> str:
        """Return the name under which a person knows an image: its path in the source, without the folder of the canonical form."""
        return record.file.removeprefix("images/") if self.form in ("canonical", "builtin") else record.file

    def read_image(self, record: ImageRecord) -> np.ndarray:
        """Return the pixels, uint8 [height, width, 3] RGB, turned upright as its EXIF tag says (nowhere else is that applied).

        Raises:
            InvalidInput: the file is absent, cannot be decoded, or no longer has the recorded size.
        """
        image = read_image_file(self.root / record.file, name=record.file)
        if image.shape[:2] != (record.height, record.width):
            raise InvalidInput(
                f"image '{record.file}' is {image.shape[1]}x{image.shape[0]} but was {record.width}x{record.height} when the data set "
                "was read; import the data set again"
            )
        return image

    def coco(self, records: Iterable[ImageRecord]) -> dict[str, Any]:
        """Return COCO ground truth of `records`: image id = `image_id`, category id = label + 1, boxes xywh."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for record in records:
            images.append({"id": record.image_id, "file_name": record.file, "width": record.width, "height": record.height})
            for box, label, crowd, area in zip(
                record.boxes.tolist(), record.labels.tolist(), record.iscrowd.tolist(), record.area.tolist(), strict=True
            ):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.image_id,
                        "category_id": label + 1,
                        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                        "area": area,
                        "iscrowd": int(crowd),
                    }
                )
        categories = [{"id": index + 1, "name": name} for index, name in enumerate(self.classes)]
        return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}

    def summary(self) -> dict[str, SplitSummary]:
        """Return images, boxes and boxes per class of each split."""
        return {split: self._summary_of(self.split(split)) for split in SPLITS}

    def _summary_of(self, records: tuple[ImageRecord, ...]) -> SplitSummary:
        labels = np.concatenate([record.labels for record in records]) if records else np.zeros(0, np.int64)
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        return SplitSummary(images=len(records), boxes=len(labels), per_class=dict(zip(self.classes, counts, strict=True)))


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file of one of IMAGE_FORMATS; raises one of DECODE_ERRORS."""
    # Given the path, Pillow maps an uncompressed TIFF into memory and mixes up the rows of one that its tag turns by a quarter.
    with path.open("rb") as file, Image.open(file, formats=IMAGE_FORMATS) as image:
        yield image


def is_deep_mode(mode: str) -> bool:
    """Say whether pictures of a mode have more than 8 bits of grey, which a plain conversion would turn white."""
    return mode.startswith("I") or mode == "F"


def eight_bit(image: Image.Image) -> Image.Image:
    """Return a picture of deep grey values in 8 bits, without its EXIF, any other one as it is. Reading, comparing, showing all see it so.

    16 bits keep their upper 8, so that 0 is black and 65535 white. 32-bit whole numbers and floats have no known range: the least value
    of the picture becomes black, the greatest white; what is not finite becomes black.
    """
    if not is_deep_mode(image.mode):
        return image
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    return Image.fromarray(_between_extremes(values))


def _between_extremes(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    rows = [row[known] for row, known in zip(values, finite, strict=True) if known.any()]
    low, high = (float(min(row.min() for row in rows)), float(max(row.max() for row in rows))) if rows else (0.0, 0.0)
    step = 255 / (high - low) if high > low else 0.0
    grey = np.zeros(values.shape, dtype=np.uint8)
    for row, known, target in zip(values, finite, grey, strict=True):  # row by row: in doubles all of them take twice the memory
        target[known] = np.rint((row[known].astype(np.float64) - low) * step)
    return grey


def read_image_file(path: Path, *, name: str | None = None) -> np.ndarray:
    """Return the pixels of an image file, uint8 [height, width, 3] RGB, upright.

    Raises:
        InvalidInput: naming the file, where it is absent or cannot be decoded whole.
    """
    shown = name or path.name
    try:
        with opened_image(path) as image:
            return np.array(eight_bit(cast(Image.Image, ImageOps.exif_transpose(image))).convert("RGB"))
    except FileNotFoundError:
        raise InvalidInput(f"image '{shown}' is not there; restore the file or import the data set again") from None
    except DECODE_ERRORS as error:
        raise InvalidInput(f"image '{shown}' cannot be decoded ({error}); replace the file or remove it") from None
