"""Figures that papers and project pages claim: accuracy, size and speed with their sources. Facts of others, measured nowhere here.

`published_results.csv` stands beside this module. AP is in percent there and 0..1 here. Which rows may stand beside one another is told
by `dataset_split`, `hardware`, `precision` and `includes_nms`; two sources with other conditions are never one comparison.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

FILE = Path(__file__).with_name("published_results.csv")
COCO_VAL = "COCO val2017"
# The name that papers use -> the family of the catalogue.
FAMILY_NAMES = {
    "Faster R-CNN": "faster_rcnn",
    "RetinaNet": "retinanet",
    "SSD": "ssd",
    "FCOS": "fcos",
    "YOLOX": "yolox",
    "NanoDet": "nanodet",
    "FastestDet": "fastestdet",
    "YOLOv1": "yolo",
    "YOLOv3": "yolo",
    "YOLOv8": "yolo",
    "YOLOv10": "yolo",
}
IncludesNms = Literal["yes", "no", "unknown", ""]


@dataclass(frozen=True)
class PublishedResult:
    """One published row. AP values are 0..1; `latency_ms` is per image; None is what the source does not say.

    `input_size` is as the source writes it. `includes_nms` says whether the speed covers all that final boxes need.
    """

    family: str
    model: str
    variant: str
    dataset_split: str
    input_size: str
    ap: float | None
    ap50: float | None
    ap_small: float | None
    params_m: float | None
    latency_ms: float | None
    fps: float | None
    hardware: str
    precision: str
    batch: str
    includes_nms: IncludesNms
    source_title: str
    source: str
    year: str
    notes: str

    @property
    def speed_ms(self) -> float | None:
        """Milliseconds an image, from latency or FPS; None where the source tells neither, or tells another batch than 1.

        Where the source tells no batch, it may be of any: `batch_words` goes with it.
        """
        if self.batch not in ("", "1"):
            return None
        if self.latency_ms is not None:
            return self.latency_ms
        return 1000 / self.fps if self.fps else None

    @property
    def batch_words(self) -> str:
        """How many images ran at once, as far as the source tells."""
        return f"batch {self.batch}" if self.batch else "batch not told"

    @property
    def title(self) -> str:
        """Model and variant in words."""
        return f"{self.model}, {self.variant}" if self.variant and self.variant not in self.model else self.model


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """Return every row of the file, in its order."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return tuple(_row(row) for row in csv.DictReader(file))


@cache
def published_hardware() -> tuple[tuple[str, int], ...]:
    """Return the machines of the rows that can be drawn, with their counts, the commonest first."""
    counts: dict[str, int] = defaultdict(int)
    for row in published_results():
        if drawable(row):
            counts[row.hardware] += 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def drawable(row: PublishedResult) -> bool:
    """Say whether a row has an AP on COCO val2017, a named machine and a speed that is not told to be of another batch than 1."""
    return row.dataset_split == COCO_VAL and row.ap is not None and row.speed_ms is not None and bool(row.hardware)


def claims_for(model: str) -> tuple[PublishedResult, ...]:
    """Return the published rows of a model by its name, whatever its spelling: `yolox_nano` finds YOLOX-Nano."""
    return _by_key().get(_key(model), ())


@cache
def _by_key() -> dict[str, tuple[PublishedResult, ...]]:
    found: dict[str, list[PublishedResult]] = defaultdict(list)
    for row in published_results():
        found[_key(row.model)].append(row)
    return {key: tuple(rows) for key, rows in found.items()}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _row(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        family=row["family"],
        model=row["model"],
        variant=row["variant"],
        dataset_split=row["dataset_split"],
        input_size=row["input_size"],
        ap=_share(row["ap"]),
        ap50=_share(row["ap50"]),
        ap_small=_share(row["ap_s"]),
        params_m=_number(row["params_m"]),
        latency_ms=_number(row["latency_ms"]),
        fps=_number(row["fps"]),
        hardware=row["latency_hardware"],
        precision=row["latency_precision"],
        batch=row["latency_batch"],
        includes_nms=row["includes_nms"],  # type: ignore[arg-type]
        source_title=row["source_title"],
        source=row["source_url_or_repo_path"],
        year=row["year"],
        notes=row["notes"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _share(text: str) -> float | None:
    return round(float(text) / 100, 6) if text else None
