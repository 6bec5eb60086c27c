"""The images of a measurement: a fixed, seeded choice, decoded before the clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detection_core.data.dataset import DetectionDataset, ImageRecord

MOST_IMAGES = 500
MOST_BYTES = 512 * 2**20


def choose_images(
    records: Sequence[ImageRecord], *, seed: int, most: int = MOST_IMAGES, most_bytes: int = MOST_BYTES
) -> tuple[ImageRecord, ...]:
    """Return up to `most` records in an order drawn from `seed`: the same choice for every detector.

    Stops before the decoded pixels would pass `most_bytes`, but returns at least one image.
    """
    chosen: list[ImageRecord] = []
    size = 0
    for index in np.random.default_rng(seed).permutation(len(records))[:most]:
        record = records[index]
        size += record.width * record.height * 3
        if chosen and size > most_bytes:
            break
        chosen.append(record)
    return tuple(chosen)


def decode_images(dataset: DetectionDataset, records: Sequence[ImageRecord]) -> list[np.ndarray]:
    """Return the pixels of `records`, uint8 [height, width, 3] RGB each; InvalidInput names a file that cannot be decoded."""
    return [dataset.read_image(record) for record in records]


def save_images(path: Path, images: Sequence[np.ndarray]) -> None:
    """Write decoded images for the processes of further runs."""
    np.savez(path, *images)


def load_images(path: Path) -> list[np.ndarray]:
    """Undo `save_images`."""
    with np.load(path, allow_pickle=False) as file:
        return [file[f"arr_{index}"] for index in range(len(file.files))]
