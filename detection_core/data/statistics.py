"""What a data set holds: sizes of its images, boxes per image, sizes of its boxes as they are and as a network will see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.schemas.results import BoxSizes, DatasetStatistics

# In pixels. 32 and 96 are COCO's borders between small, medium and large; below 8 hardly any detector finds anything.
SIDE_EDGES = (0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
COUNT_EDGES = (0, 1, 2, 3, 4, 5, 10, 20, 50, 100, 200)
INPUT_SIDES = (224, 320, 416, 640)
MAX_IMAGE_SIZES = 20


def dataset_statistics(dataset: DetectionDataset) -> DatasetStatistics:
    """Return the statistics over all splits; crowd boxes count like others.

    The side of a box is the square root of its width times its height. `at_input` is that side after a letterbox resize into a square
    of so many pixels, which enlarges small images too. In every histogram the last edge is open: larger values are in the last count.
    """
    records = dataset.records
    sides = np.concatenate([_sides(record) for record in records]) if records else np.zeros(0)
    labels = np.concatenate([record.labels for record in records]) if records else np.zeros(0, np.int64)
    longest = np.concatenate([np.full(len(record.boxes), max(record.width, record.height)) for record in records]) if records else sides
    return DatasetStatistics(
        image_sizes=_image_sizes(records),
        boxes_per_image=histogram([len(record.boxes) for record in records], COUNT_EDGES),
        original=histogram(sides, SIDE_EDGES),
        at_input={str(side): histogram(sides * side / longest, SIDE_EDGES) for side in INPUT_SIDES},
        per_class={name: histogram(sides[labels == label], SIDE_EDGES) for label, name in enumerate(dataset.classes)},
    )


def histogram(values: Iterable[float] | np.ndarray, edges: Sequence[float]) -> BoxSizes:
    """Count values from each edge up to, but without, the next; the last count holds everything from the last edge but one."""
    bins = np.searchsorted(np.array(edges[1:-1], dtype=np.float64), np.asarray(values, dtype=np.float64), side="right")
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return BoxSizes(edges=tuple(edges), counts=tuple(counts.tolist()))


def _sides(record: ImageRecord) -> np.ndarray:
    return np.sqrt(np.prod(record.boxes[:, 2:] - record.boxes[:, :2], axis=1))


def _image_sizes(records: Iterable[ImageRecord]) -> dict[str, int]:
    sizes = Counter(f"{record.width}x{record.height}" for record in records)
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:MAX_IMAGE_SIZES])
