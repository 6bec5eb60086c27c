"""Leaks: the same or nearly the same picture in two splits, so that a detector is measured on what it was trained on.

Two pictures are called nearly the same where their difference hashes (64 bits: is each cell of a 9x8 grid darker than its right
neighbour) differ in at most MAX_DISTANCE bits and the details of their 16x16 grey thumbnails agree: what is left of them without light and
shade, a surface of second degree. The hash finds the candidates fast; the details tell two skies with the same light apart. Found are
copies that were saved again, scaled, slightly cropped, brightened or that follow each other in a film; not found are mirrored, turned or
strongly cropped ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice, product
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from detection_core.data.dataset import DECODE_ERRORS, SPLITS, DetectionDataset, ImageRecord, eight_bit, opened_image
from detection_core.schemas.results import Leak, LeakReport

# Chosen on the real sets at hand: copies that were moved or cropped by 2 % are found, and of 98,000 pairs of different photographs none.
MAX_DISTANCE = 10
MIN_CORRELATION = 0.85
# Pictures without detail have nothing to correlate: they agree where their thumbnails differ by no more than this, in grey levels of 255.
FLAT_DIFFERENCE = 0.3
MAX_LEAKS = 200
# Films of a camera that stands still: so many pairs say enough, and all of them would take hours.
MOST_PAIRS = 5_000_000
SIDE = 16
_PAIRS_AT_ONCE = 1 << 22
_CHECKS_AT_ONCE = 1 << 13
_TELL_EVERY = 200


@dataclass(frozen=True, eq=False)
class Signatures:
    """What is compared: `hashes` uint64 [n] and `thumbnails` uint8 [n, 256] of the records with the numbers `places` [n]."""

    places: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray


def find_leaks(dataset: DetectionDataset, *, tell: Callable[[float], None] | None = None) -> LeakReport:
    """Compare every image with every image of the other splits; `near` is no longer exact beyond MOST_PAIRS.

    Args:
        tell: is called now and then with the share that is done, 0..1; it may raise to stop.
    """
    records = dataset.records
    exact = list(islice(same_bytes(records), MAX_LEAKS))
    report = LeakReport(checked=len(records), exact=count_same_bytes(records))
    if len({record.split for record in records}) < 2:
        return report
    signatures = signatures_of(dataset, tell=tell)
    splits = np.array([SPLITS.index(records[place].split) for place in signatures.places.tolist()], dtype=np.int8)
    nearest: list[tuple[int, int, int]] = []
    near = 0
    for block in near_pairs(signatures, splits):
        pairs = [pair for pair in _by_place(signatures, *block) if records[pair[1]].sha256 != records[pair[2]].sha256]
        near += len(pairs)
        nearest = sorted(nearest + pairs)[:MAX_LEAKS]
        if tell:
            tell(1.0)
        if near >= MOST_PAIRS:
            break
    found = [(0, *pair) for pair in sorted(exact)] + nearest
    return report.model_copy(update={"near": near, "leaks": tuple(_leak(dataset, *pair) for pair in found[:MAX_LEAKS])})


def signatures_of(dataset: DetectionDataset, *, tell: Callable[[float], None] | None = None) -> Signatures:
    """Read every image and return what is compared; an image that cannot be decoded is left out."""
    places: list[int] = []
    hashes: list[int] = []
    thumbnails: list[np.ndarray] = []
    for place, record in enumerate(dataset.records):
        try:
            bits, thumbnail = signature(dataset.root / record.file)
        except DECODE_ERRORS:
            continue
        places.append(place)
        hashes.append(bits)
        thumbnails.append(thumbnail)
        if tell and place % _TELL_EVERY == 0:
            tell(place / len(dataset.records))
    return Signatures(
        np.array(places, dtype=np.int64),
        np.array(hashes, dtype=np.uint64),
        np.array(thumbnails, dtype=np.uint8).reshape(-1, SIDE * SIDE),
    )


def signature(path: Path) -> tuple[int, np.ndarray]:
    """Return the difference hash (64 bits) and the thumbnail, uint8 [256], of an image turned upright; raises one of DECODE_ERRORS."""
    with opened_image(path) as image:
        image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at a fraction of its size
        grey = eight_bit(cast(Image.Image, ImageOps.exif_transpose(image))).convert("L")
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, :-1] < cells[:, 1:]).ravel()
    thumbnail = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail


def near_pairs(signatures: Signatures, splits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, block by block, the rows of pairs in different splits that are nearly the same: first, second, distance in bits.

    Args:
        splits: the split of each signature as a number, [n].
    """
    details = _details(signatures.thumbnails)
    for one, two in combinations(np.unique(splits).tolist(), 2):
        left, right = np.flatnonzero(splits == one), np.flatnonzero(splits == two)
        step = max(_PAIRS_AT_ONCE // len(right), 1)
        for start in range(0, len(left), step):
            block = left[start : start + step]
            distance = np.bitwise_count(signatures.hashes[block][:, None] ^ signatures.hashes[right][None, :])
            rows, columns = np.nonzero(distance <= MAX_DISTANCE)
            for begin in range(0, len(rows), _CHECKS_AT_ONCE):
                part = slice(begin, begin + _CHECKS_AT_ONCE)
                first, second = block[rows[part]], right[columns[part]]
                alike = np.einsum("ij,ij->i", details[first], details[second]) >= MIN_CORRELATION
                alike[~alike] = _equal(signatures.thumbnails[first[~alike]], signatures.thumbnails[second[~alike]])
                yield first[alike], second[alike], distance[rows[part], columns[part]][alike]


def _details(thumbnails: np.ndarray) -> np.ndarray:
    """Take the best-fitting surface of second degree out of each thumbnail and return what is left, of length 1, float32 [n, 256]."""
    grey = thumbnails.astype(np.float32)
    details = grey - (grey @ _SURFACES) @ _SURFACES.T
    return details / np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1.0)


def _equal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Say for each row of two stacks of thumbnails whether they hardly differ: bool [n]."""
    return np.abs(first.astype(np.int16) - second).mean(axis=1) <= FLAT_DIFFERENCE


def _surfaces() -> np.ndarray:
    """Return an orthonormal basis of the surfaces of second degree, float32 [256, 6]."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    surfaces = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.linalg.qr(surfaces)[0].astype(np.float32)


_SURFACES = _surfaces()


def count_same_bytes(records: tuple[ImageRecord, ...]) -> int:
    """Return how many pairs of images have the same bytes and stand in two splits, without looking at each pair."""
    by_bytes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        by_bytes[record.sha256][record.split] += 1
    return sum(one * two for counts in by_bytes.values() for one, two in combinations(counts.values(), 2))


def same_bytes(records: tuple[ImageRecord, ...]) -> Iterator[tuple[int, int]]:
    """Yield the places of images with the same bytes in two splits, ordered as `near_pairs` does: the earlier split first."""
    by_bytes: defaultdict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        by_bytes[record.sha256].append(place)
    for places in by_bytes.values():
        mine = [[place for place in places if records[place].split == split] for split in SPLITS]
        for first, second in combinations(mine, 2):
            yield from product(first, second)


def _by_place(signatures: Signatures, first: np.ndarray, second: np.ndarray, distance: np.ndarray) -> list[tuple[int, int, int]]:
    places = signatures.places
    return list(zip(distance.tolist(), places[first].tolist(), places[second].tolist(), strict=True))


def _leak(dataset: DetectionDataset, distance: int, one: int, two: int) -> Leak:
    first, second = dataset.records[one], dataset.records[two]
    return Leak(
        first=dataset.shown_file(first),
        first_split=first.split,
        second=dataset.shown_file(second),
        second_split=second.split,
        exact=first.sha256 == second.sha256,
        distance=distance,
    )
