"""The shapes of catalogue entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Stages = Literal["one", "two", "set"]


@dataclass(frozen=True)
class Detector:
    """One named detector.

    `builder` is "module:Class" of its adapter; only `detection_core.build` resolves it. `options` go to that builder as keyword
    arguments. `recipe` holds the fields of a Recipe in which this detector differs from the default.
    `params_m` is the number of parameters in millions at 80 classes (91 outputs where the paper counts so), as built.
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


@dataclass(frozen=True)
class Family:
    """A detector family: what its pages say and which colour slot (0..7, Okabe-Ito order) it keeps everywhere."""

    name: str
    title: str
    colour: int
    how_it_works: str


@dataclass(frozen=True)
class BuiltinDataset:
    """A data set that the project can make by itself or takes out of an installed package."""

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    source: str
    about: str
    needs: str | None = None


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
