"""The shapes of catalogue entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Stages = Literal["one", "two", "set"]
# How the scales of a trunk reach the heads: one map, each scale alone, a top-down pyramid, a pyramid with a path back up.
Neck = Literal["single", "multi", "fpn", "pan"]


@dataclass(frozen=True)
class Detector:
    """One named detector.

    `builder` is "module:Class" of its adapter; only `detection_core.build` resolves it. `options` go to that builder as keyword
    arguments. `recipe` holds the fields of a Recipe in which this detector differs from the default.
    `published_weights` names what torchvision publishes for it: of the whole detector, trained on COCO, or of its trunk, on ImageNet.
    `params_m` is the number of parameters in millions at 80 classes (91 outputs where the paper counts so), as built. `published_ap` is
    COCO's AP 0..1 that others tell of the original at this input size, on the images that `published_on` names.
    """

    name: str
    title: str
    family: str
    stages: Stages
    imbalance_remedy: str
    anchors: bool
    multi_scale: bool
    builder: str
    input_size: int
    resize: Literal["letterbox", "stretch"]
    licence: str
    paper: str
    paper_url: str
    params_m: float
    macs_g: float | None
    nms_free: bool = False
    extra: str | None = None
    compact: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    nms_thresh: float = 0.5
    published_ap: float | None = None
    published_weights: str | None = None
    published_on: str = "COCO val2017"


@dataclass(frozen=True)
class Family:
    """A detector family: what its pages say and which colour slot (0..7 in Okabe-Ito order, then 8..10) it keeps everywhere."""

    name: str
    title: str
    colour: int
    how_it_works: str


@dataclass(frozen=True)
class Download:
    """One file of a data set on the network: its address, its size in bytes and what is published of its content.

    With `sha256` or `md5` the file is checked against it. Without both its sha256 is recorded at the first download and shown, and a
    later download must give the same. `size` is None where nobody tells it.
    """

    url: str
    size: int | None
    sha256: str | None = None
    md5: str | None = None

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class BuiltinDataset:
    """A data set that the project can make by itself, takes out of a package, or downloads (`downloads`; only a job does that).

    Of what is downloaded only members whose name `keep` (a regular expression) finds are unpacked; `reader` reads them.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    source: str
    about: str
    needs: str | None = None
    downloads: tuple[Download, ...] = ()
    keep: str = ""
    reader: Literal["", "coco", "voc", "penn-fudan"] = ""

    @property
    def download_bytes(self) -> int:
        """Return the size of everything that would be downloaded, as far as it is known."""
        return sum(download.size or 0 for download in self.downloads)


@dataclass(frozen=True)
class ScenarioEntry:
    """How queries arrive, and what the final figure is."""

    name: str
    title: str
    arrival: str
    figure: str


@dataclass(frozen=True)
class DurationRule:
    """How long a latency measurement lasts: part of the protocol's name."""

    name: str
    runs: int
    min_samples: int
    min_seconds: float
    max_seconds: float
