"""The studies: what a paper found out by leaving something out, asked again on other data. One entry in `STUDIES` makes one.

docs/studies.md tells how a study is made, queued and read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Paper:
    """Where a question comes from."""

    title: str
    url: str


@dataclass(frozen=True)
class PaperRow:
    """One row of a paper's own table, AP 0..1 on the paper's data. `source` names paper and table, and what differs from ours."""

    ap: float
    source: str
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None


@dataclass(frozen=True)
class StudyData:
    """A built-in data set made with `options` of its own: what an arm learns from and what it is tested on."""

    name: str
    label: str
    dataset: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way of training. `recipe` holds the fields of a Recipe in which it differs; `data` is the StudyData that it learns from.

    `label` names it in tables, `short` in figures.
    """

    name: str
    label: str
    short: str
    model: str
    recipe: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    paper: PaperRow | None = None


@dataclass(frozen=True)
class Pattern:
    """What several comparisons have in common, so that one sentence can sum them up: "`where` `arm` beats `baseline` in 4 of 6"."""

    arm: str
    baseline: str
    where: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two arms whose difference answers the question, tested on `data`. `paper` is the difference of AP in one table of one paper.

    Comparisons of one `pattern` are told together, others one by one.
    """

    arm: str
    baseline: str
    data: str = ""
    paper: float | None = None
    source: str = ""
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Study:
    """A question, the trainings that answer it, and what is read off them.

    `data` is empty where a person chooses the one data set of the study (`dataset` by default); else every arm learns from its own and is
    tested on all of them. `sizes`: AP by object size is told; `latency`: every arm is timed too. `epochs` is that of each training by
    default. `two_core_minutes` is about how long such a run of `seeds` takes, job after job, where all work is done by two CPU cores
    (docs/studies.md tells the measurements).
    """

    name: str
    title: str
    question: str
    reading: str
    papers: tuple[Paper, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    epochs: int
    two_core_minutes: int
    data: tuple[StudyData, ...] = ()
    dataset: str = "fields"
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: bool = False
    latency: bool = False

    def arm(self, name: str) -> Arm:
        """Return the arm of this name; raises KeyError where there is none."""
        return {arm.name: arm for arm in self.arms}[name]

    @property
    def tests(self) -> tuple[str, ...]:
        """Return the names of the data that every arm is tested on, "" for the one data set that a person chose."""
        return tuple(data.name for data in self.data) or ("",)

    def data_label(self, name: str) -> str:
        """Return how the page writes one of `tests`."""
        return {data.name: data.label for data in self.data}.get(name, "")


_RETINANET = Paper("Lin et al., Focal Loss for Dense Object Detection, 2017", "https://arxiv.org/abs/1708.02002")
_FPN = Paper("Lin et al., Feature Pyramid Networks for Object Detection, 2017", "https://arxiv.org/abs/1612.03144")
_SSD = Paper("Liu et al., SSD: Single Shot MultiBox Detector, 2016", "https://arxiv.org/abs/1512.02325")

_TABLE_1B = "RetinaNet paper, table 1b"
_TABLE_1D = "RetinaNet paper, table 1d"
# (gamma, alpha that was best with it, AP): table 1b, ResNet-50-FPN on COCO minival.
_FOCAL_ROWS = ((0.0, 0.75, 0.311), (0.5, 0.50, 0.329), (1.0, 0.25, 0.337), (2.0, 0.25, 0.340), (5.0, 0.25, 0.322))


def _focal_arm(gamma: float, alpha: float, ap: float) -> Arm:
    label = f"focal loss, γ {gamma:g}, α {alpha:.2f}" if gamma else f"cross-entropy (γ 0), α {alpha:.2f}"
    loss = {"loss": "focal", "alpha": alpha, "gamma": gamma}
    recipe = {"model_options": {"classification": loss}}
    return Arm(f"gamma_{gamma:g}", label, f"γ {gamma:g}", "retinanet_resnet10_fpn", recipe, paper=PaperRow(ap, _TABLE_1B))


def _focal_loss() -> Study:
    without = _FOCAL_ROWS[0][2]
    mining = Arm(
        name="mining",
        label="cross-entropy, hard negatives 3:1",
        short="3:1",
        model="retinanet_resnet10_fpn",
        recipe={"model_options": {"classification": {"loss": "hard_mining", "negatives_per_positive": 3.0}}},
        paper=PaperRow(0.311, f"{_TABLE_1D}, OHEM 1:3, the best of its three settings, ResNet-101"),
    )
    against_none = tuple(
        Comparison(f"gamma_{gamma:g}", "gamma_0", paper=round(ap - without, 3), source=_TABLE_1B) for gamma, _, ap in _FOCAL_ROWS[1:]
    )
    # Table 1d: OHEM 1:3 at its best 31.1, focal loss 36.0, both with ResNet-101.
    against_mining = Comparison("gamma_2", "mining", paper=0.049, source=f"{_TABLE_1D}, ResNet-101")
    return Study(
        name="focal-loss",
        title="Focal loss",
        question=(
            "A dense detector sees thousands of places without an object for each with one. "
            "Does it learn better when easy places count less, and how much less is best?"
        ),
        reading="AP of each loss over the same seeds, beside the paper's.",
        papers=(_RETINANET, _SSD),
        arms=(*(_focal_arm(*row) for row in _FOCAL_ROWS), mining),
        comparisons=(*against_none, Comparison("mining", "gamma_0"), against_mining),
        epochs=9,
        two_core_minutes=70,
    )


# Fast R-CNN on fixed proposals, ResNet-50, COCO minival: FPN paper, table 2.
_FPN_TABLE = "FPN paper, table 2"
_NECK_ROWS = (
    ("single", "one map, stride 16", PaperRow(0.319, f"{_FPN_TABLE} (a), the map of conv4", 0.157, 0.365, 0.455)),
    ("multi", "several maps, each by itself", PaperRow(0.249, f"{_FPN_TABLE} (d), no top-down path", 0.109, 0.244, 0.385)),
    ("fpn", "feature pyramid (FPN)", PaperRow(0.339, f"{_FPN_TABLE} (c)", 0.178, 0.377, 0.458)),
)


def _necks() -> Study:
    arms = tuple(
        Arm(name, label, name, "retinanet_resnet10_fpn", {"model_options": {"neck": name}}, paper=row) for name, label, row in _NECK_ROWS
    )
    return Study(
        name="necks",
        title="Necks",
        question=(
            "Objects come in all sizes. Is one feature map enough, do several help, must they be joined, and what does each cost in time?"
        ),
        reading="AP by object size and latency of each neck, beside the papers'.",
        papers=(_FPN, _RETINANET),
        arms=arms,
        comparisons=(
            Comparison("multi", "single", paper=-0.070, source=_FPN_TABLE),
            Comparison("fpn", "single", paper=0.020, source=_FPN_TABLE),
            Comparison("fpn", "multi", paper=0.090, source=_FPN_TABLE),
        ),
        epochs=16,
        two_core_minutes=65,
        sizes=True,
        latency=True,
    )


_ALTITUDES_M = (10, 20, 40)
_AWAY = Pattern("training at another height", "training at the tested height", "with plain augmentation,")
_HELPED_AWAY = Pattern("strong augmentation", "plain augmentation", "tested at another height than trained at,")
_HELPED_AT_HOME = Pattern("strong augmentation", "plain augmentation", "tested at the height trained at,")
# The zoom takes a picture from 10 m to 40 m and one from 40 m to 10 m.
_STRONG = {"augmentation": {"scale_min": 0.25, "scale_max": 4.0, "flip_vertical": 0.5, "color": 0.5}}


def _altitude() -> Study:
    data = tuple(StudyData(f"{height}m", f"{height} m", "fields", {"altitude_m": [float(height)]}) for height in _ALTITUDES_M)
    plain, strong = (
        tuple(
            Arm(f"{one.name}_{kind}", f"trained at {one.label}, {kind}", f"{one.label} {kind}", "fcos_resnet10_fpn", recipe, one.name)
            for one in data
        )
        for kind, recipe in (("plain", {}), ("strong", _STRONG))
    )
    away = tuple(
        Comparison(f"{one.name}_plain", f"{tested.name}_plain", tested.name, pattern=_AWAY)
        for tested in data
        for one in data
        if one is not tested
    )
    helped = tuple(
        Comparison(f"{one.name}_strong", f"{one.name}_plain", tested.name, pattern=_HELPED_AT_HOME if one is tested else _HELPED_AWAY)
        for tested in data
        for one in data
    )
    return Study(
        name="altitude",
        title="Altitude and resolution",
        question=(
            "A detector learnt from pictures of one flying height. What is left of it at another, where plants are larger or smaller, "
            "and does strong augmentation (zoom by 0.25 to 4, flips, colours) bridge the gap?"
        ),
        reading="AP of every training height at every tested height, with plain and with strong augmentation.",
        papers=(),
        arms=(*plain, *strong),
        comparisons=(*away, *helped),
        epochs=8,
        two_core_minutes=80,
        data=data,
    )


STUDIES: dict[str, Study] = {study.name: study for study in (_focal_loss(), _necks(), _altitude())}
