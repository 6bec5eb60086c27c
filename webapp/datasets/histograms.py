"""The statistics of a version as rows with bars, ready for a template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.datasets.models import DatasetVersion

DEFAULT_INPUT = "320"


@dataclass(frozen=True)
class Bar:
    """One row: its words, how many, and how long the bar is, 0..100 of the longest."""

    words: str
    count: int
    share: float


@dataclass(frozen=True)
class Histograms:
    """Box sides in the original and at a network input, boxes an image, image sizes; empty where a version was stored without."""

    original: tuple[Bar, ...]
    at_input: tuple[Bar, ...]
    input_side: str
    input_sides: tuple[str, ...]
    boxes_per_image: tuple[Bar, ...]
    image_sizes: tuple[Bar, ...]
    bins: tuple[str, ...]
    per_class: tuple[tuple[str, tuple[int, ...]], ...]

    def __bool__(self) -> bool:
        return bool(self.input_sides)


def histograms(version: DatasetVersion, *, input_side: str = "") -> Histograms:
    """Return a version's statistics; `input_side` chooses the side of the network input, in pixels."""
    known: Mapping[str, Any] = version.statistics
    at_input = known.get("at_input") or {}
    sides = tuple(sorted(at_input, key=int))
    side = input_side if input_side in at_input else DEFAULT_INPUT if DEFAULT_INPUT in at_input else (sides[-1] if sides else "")
    original = known.get("original")
    filled = _filled(original, at_input.get(side))
    return Histograms(
        original=_bars(original, " px")[filled],
        at_input=_bars(at_input.get(side), " px")[filled],
        input_side=side,
        input_sides=sides,
        boxes_per_image=_bars(known.get("boxes_per_image"), "", whole=True),
        image_sizes=_named_bars((size.replace("x", "\u2009×\u2009"), count) for size, count in (known.get("image_sizes") or {}).items()),
        bins=tuple(_bin_words(original, "")) if original else (),
        per_class=tuple((name, tuple(sizes["counts"])) for name, sizes in (known.get("per_class") or {}).items()),
    )


def _filled(*histograms: Mapping[str, Any] | None) -> slice:
    """Return the rows from the first to the last that one of the histograms has something in: both then show the same sizes."""
    rows = [place for sizes in histograms if sizes for place, count in enumerate(sizes["counts"]) if count]
    return slice(min(rows, default=0), max(rows, default=-1) + 1)


def _bars(sizes: Mapping[str, Any] | None, unit: str, *, whole: bool = False) -> tuple[Bar, ...]:
    return _named_bars(zip(_bin_words(sizes, unit, whole=whole), sizes["counts"], strict=True)) if sizes else ()


def _named_bars(rows: Iterable[tuple[str, int]]) -> tuple[Bar, ...]:
    found = list(rows)
    most = max((count for _, count in found), default=0) or 1
    return tuple(Bar(words, count, round(100 * count / most, 1)) for words, count in found)


def _bin_words(sizes: Mapping[str, Any], unit: str, *, whole: bool = False) -> list[str]:
    """Name the bins: from one edge up to the next, the last one open. Whole numbers name what lies between."""
    edges: Sequence[float] = sizes["edges"]
    count = len(sizes["counts"])
    names = []
    for place in range(count - 1):
        low, high = edges[place], edges[place + 1]
        if whole:
            names.append(f"{low:g}" if high - low <= 1 else f"{low:g} to {high - 1:g}")
        else:
            names.append(f"{low:g} to {high:g}{unit}")
    return [*names, f"{edges[count - 1]:g}{unit} and more"]
