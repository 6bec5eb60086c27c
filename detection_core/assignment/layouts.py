"""Where each detector's anchors, default boxes or points lie: the one description, without torch.

The adapters in `detection_core.models` take their defaults from here, and a test compares every catalogue entry with its network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from detection_core.catalogue.specs import Detector, Neck
from detection_core.schemas.base import InvalidInput, Schema

# One inner tuple for each level, the finest first.
PerLevel = tuple[tuple[float, ...], ...]
# The cells along one side of each level, for a side of the network input in pixels.
Cells = Callable[[int], tuple[int, ...]]

MOST_ANCHORS = 36  # at one place
LEAST_SIDE = 2.0  # pixels; narrower ones round to nothing
# Families whose levels share one head, so that every place has the same number of anchors.
SHARED_HEAD = ("faster_rcnn", "retinanet")


class AnchorOptions(Schema):
    """What of a recipe decides where anchors or points lie.

    `anchor_sizes` in pixels of the network input (the square root of an anchor's area) and `aspect_ratios` (height / width), for each level
    of the network, finest first: a place has every size in every ratio. `neck`, which decides what levels there are.

    What is None stays as the detector has it.
    """

    anchor_sizes: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1, max_length=8)] | None = None
    aspect_ratios: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1, max_length=8)] | None = None
    neck: Neck | None = None

    @property
    def has_anchors(self) -> bool:
        """Say whether other anchors than the detector's own are given."""
        return self.anchor_sizes is not None or self.aspect_ratios is not None

    def given(self) -> dict[str, Any]:
        """Return what is not None, as a recipe's `model_options` and a manifest's `options` hold it."""
        return {name: value if isinstance(value, str) else [list(level) for level in value] for name, value in self if value is not None}


@dataclass(frozen=True)
class AnchorRule:
    """Anchors around the upper left corner of each cell, sides rounded to whole pixels on both sides of it (torchvision)."""

    cells: Cells
    sizes: PerLevel
    ratios: PerLevel


@dataclass(frozen=True)
class DefaultBoxRule:
    """SSD's default boxes around the middle of each cell (Liu et al. 2016, section 2.2), `scales` relative to the input.

    Level k has a square of scale k, a square of the geometric mean of scales k and k + 1, and scale k in each of `ratios` and its
    inverse. `steps`, where told, are the cells' sides in pixels at an input of `steps_side`. `together`: the boxes of all levels stand
    around the cells of one.
    """

    cells: Cells
    scales: tuple[float, ...]
    ratios: PerLevel
    steps: tuple[int, ...] | None = None
    steps_side: int = 0
    together: bool = False


@dataclass(frozen=True)
class PointRule:
    """One point at the upper left corner of each cell, with the side that tells its level's range of sizes (FCOS).

    `surrounding`: an object is learnt by the four points around its middle, whatever its size (FastestDet).
    """

    cells: Cells
    sides: tuple[float, ...]
    surrounding: bool = False


@dataclass(frozen=True)
class ShapeRule:
    """Anchors around the middle of each cell (YOLOv3): for each level pairs of width and height in pixels at an input of `side`.

    They grow with the input. Given sizes and ratios take their place.
    """

    cells: Cells
    shapes: tuple[tuple[tuple[float, float], ...], ...]
    side: int


@dataclass(frozen=True)
class CellRule:
    """Cells without anchors: the one that holds the middle of an object learns it (YOLOv1). Each tells `boxes` boxes."""

    cells: Cells
    boxes: int


Rule = AnchorRule | DefaultBoxRule | PointRule | ShapeRule | CellRule


@dataclass(frozen=True, eq=False)
class Level:
    """One level of a network: the same boxes around every cell of a grid.

    Box `a` at row r and column c is (x1[a, c], y1[a, r], x2[a, c], y2[a, r]), xyxy in pixels of the network input, all float32.
    `cell_width` and `cell_height` are in the same pixels.
    """

    x1: np.ndarray  # [boxes at a place, columns]
    x2: np.ndarray
    y1: np.ndarray  # [boxes at a place, rows]
    y2: np.ndarray
    cell_width: float
    cell_height: float

    @property
    def rows(self) -> int:
        """Cells from top to bottom."""
        return self.y1.shape[1]

    @property
    def columns(self) -> int:
        """Cells from left to right."""
        return self.x1.shape[1]

    @property
    def per_place(self) -> int:
        """Boxes at one cell."""
        return len(self.x1)

    @property
    def count(self) -> int:
        """Boxes of the level."""
        return self.rows * self.columns * self.per_place

    def boxes(self) -> np.ndarray:
        """Return all boxes, float32 [count, 4] xyxy: cell by cell in reading order, within a cell in the order of the network."""
        shape = (self.rows, self.columns, self.per_place)
        sides = (self.x1.T[None], self.y1.T[:, None], self.x2.T[None], self.y2.T[:, None])
        return np.stack([np.broadcast_to(side, shape) for side in sides], axis=-1).reshape(-1, 4)


def _pyramid(*levels: int) -> Cells:
    """Level k of a pyramid has one cell for each begun square of 2**k pixels."""

    def cells(side: int) -> tuple[int, ...]:
        return tuple(-(-side // 2**level) for level in levels)

    return cells


def _vgg_cells(side: int) -> tuple[int, ...]:
    """SSD300's trunk rounds some halvings down, and its last two layers have no padding."""
    first = -(-(side // 4) // 2)
    second = first // 2
    third = -(-second // 2)
    fourth = -(-third // 2)
    return first, second, third, fourth, fourth - 2, fourth - 4


def _octaves(*bases: int) -> PerLevel:
    """RetinaNet's three sizes a level, a third of an octave apart and cut to whole pixels (Lin et al. 2017, section 4)."""
    return tuple((float(base), float(int(base * 2 ** (1 / 3))), float(int(base * 2 ** (2 / 3)))) for base in bases)


def _single(*sizes: float) -> PerLevel:
    return tuple((float(size),) for size in sizes)


def _evenly(lowest: float, highest: float, levels: int) -> tuple[float, ...]:
    return (*(lowest + (highest - lowest) * level / (levels - 1.0) for level in range(levels)), 1.0)


_RATIOS = (0.5, 1.0, 2.0)
_COMPACT, _FROM_P3 = _pyramid(3, 4, 5, 6), _pyramid(3, 4, 5, 6, 7)
_RPN = AnchorRule(_pyramid(2, 3, 4, 5, 6), _single(32, 64, 128, 256, 512), (_RATIOS,) * 5)
_COMPACT_RPN = AnchorRule(_COMPACT, _single(16, 32, 64, 128), (_RATIOS,) * 4)
# Both feature levels of the MobileNet have a stride of 32; each of the three levels has all five sizes.
_MOBILE_RPN = AnchorRule(_pyramid(5, 5, 6), ((32.0, 64.0, 128.0, 256.0, 512.0),) * 3, (_RATIOS,) * 3)
_RETINANET = AnchorRule(_FROM_P3, _octaves(32, 64, 128, 256, 512), (_RATIOS,) * 5)
_COMPACT_RETINANET = AnchorRule(_COMPACT, _octaves(16, 32, 64, 128), (_RATIOS,) * 4)
_COMPACT_SSD = DefaultBoxRule(_pyramid(3, 4, 5, 6, 7), (0.07, 0.14, 0.28, 0.5, 0.75, 1.0), ((2.0,),) * 5)
_SSD300 = DefaultBoxRule(
    _vgg_cells,
    (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)),
    steps=(8, 16, 32, 64, 100, 300),
    steps_side=300,
)
_SSDLITE = DefaultBoxRule(_pyramid(4, 5, 6, 7, 8, 9), _evenly(0.2, 0.95, 6), ((2.0, 3.0),) * 6)
# The nine clusters of COCO's boxes (YOLOv3, section 2.3), three to each scale.
_YOLOV3 = ShapeRule(
    _pyramid(3, 4, 5),
    (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))),
    side=416,
)

# (family, variant) -> where its boxes or points lie
RULES: dict[tuple[str, str], Rule] = {
    ("faster_rcnn", "resnet10_fpn"): _COMPACT_RPN,
    ("faster_rcnn", "resnet18_fpn"): _COMPACT_RPN,
    ("faster_rcnn", "resnet50_fpn"): _RPN,
    ("faster_rcnn", "resnet50_fpn_v2"): _RPN,
    ("faster_rcnn", "mobilenet_v3_large_fpn"): _MOBILE_RPN,
    ("faster_rcnn", "mobilenet_v3_large_320_fpn"): _MOBILE_RPN,
    ("retinanet", "resnet10_fpn"): _COMPACT_RETINANET,
    ("retinanet", "resnet18_fpn"): _COMPACT_RETINANET,
    ("retinanet", "resnet50_fpn"): _RETINANET,
    ("retinanet", "resnet50_fpn_v2"): _RETINANET,
    ("ssd", "resnet10"): _COMPACT_SSD,
    ("ssd", "resnet18"): _COMPACT_SSD,
    ("ssd", "300_vgg16"): _SSD300,
    ("ssd", "lite320_mobilenet_v3_large"): _SSDLITE,
    ("fcos", "resnet10_fpn"): PointRule(_COMPACT, (8.0, 16.0, 32.0, 64.0)),
    ("fcos", "resnet18_fpn"): PointRule(_COMPACT, (8.0, 16.0, 32.0, 64.0)),
    ("fcos", "resnet50_fpn"): PointRule(_FROM_P3, (8.0, 16.0, 32.0, 64.0, 128.0)),
    ("fastestdet", ""): PointRule(_pyramid(4), (16.0,), surrounding=True),
    ("yolo", "v1"): CellRule(_pyramid(6), boxes=2),
    ("yolo", "v1_compact"): CellRule(_pyramid(5), boxes=2),
    ("yolo", "v3"): _YOLOV3,
    ("yolo", "v3_compact"): _YOLOV3,
}
# The networks whose neck a recipe can change -> the one they have, and that RULES describes; every other has the same levels but `single`.
OWN_NECKS: dict[tuple[str, str], Neck] = {
    ("retinanet", "resnet10_fpn"): "fpn",
    ("retinanet", "resnet18_fpn"): "fpn",
    ("fcos", "resnet10_fpn"): "fpn",
    ("fcos", "resnet18_fpn"): "fpn",
    ("ssd", "resnet10"): "multi",
    ("ssd", "resnet18"): "multi",
}
SINGLE_LEVEL = 4  # of the neck `single`: a stride of 2**4 pixels

# (family, variant) of those that choose places by what the network answers (task alignment): before a training nothing can be counted.
SELF_CHOSEN = {("yolo", variant) for variant in ("n", "s", "m", "b", "l", "x")}


def has_layout(detector: Detector) -> bool:
    """Say whether it is known here where the detector's boxes or points lie."""
    return (detector.family, variant_of(detector)) in RULES


def variant_of(detector: Detector) -> str:
    """Return which of its family's networks a detector is; "" where the family has one."""
    return str(detector.options.get("variant", ""))


def rule_of(detector: Detector, neck: Neck | None = None) -> Rule:
    """Return where a detector's boxes lie under a neck, None being its own.

    Raises:
        InvalidInput: the detector has no fixed rule, is not described here, or its neck cannot be changed.
    """
    if (detector.family, variant_of(detector)) in SELF_CHOSEN:
        raise InvalidInput(f"{detector.name} chooses its places by what it answers, so nothing can be counted before a training")
    if not has_layout(detector):
        known = ", ".join(sorted({family for family, _ in RULES}))
        raise InvalidInput(f"no assignment is known for {detector.name}; choose a detector of one of the families {known}")
    return rule_under(detector.name, detector.family, variant_of(detector), neck)


def rule_under(name: str, family: str, variant: str, neck: Neck | None) -> Rule:
    """Return where the boxes of a network of RULES lie under a neck, None being its own; raises InvalidInput where it has but its own."""
    rule = RULES[family, variant]
    if neck is None:
        return rule
    if (family, variant) not in OWN_NECKS:
        raise InvalidInput(f"{name} takes no option 'neck'; leave it out or use a compact RetinaNet, FCOS or SSD")
    return on_one_level(rule) if neck == "single" else rule


def on_one_level(rule: Rule) -> Rule:
    """Put the boxes of all levels around the cells of one; of points one level takes objects of all sizes. For a rule of OWN_NECKS."""
    cells = _pyramid(SINGLE_LEVEL)
    if isinstance(rule, PointRule):
        return replace(rule, cells=cells, sides=(float(2**SINGLE_LEVEL),))
    if isinstance(rule, AnchorRule):
        return replace(rule, cells=cells, sizes=(tuple(size for level in rule.sizes for size in level),), ratios=rule.ratios[:1])
    assert isinstance(rule, DefaultBoxRule)
    return replace(rule, cells=cells, together=True)


def layout(detector: Detector, *, height: int, width: int, options: AnchorOptions | None = None) -> tuple[Level, ...]:
    """Return the levels of a detector, finest first.

    Args:
        detector: a catalogue entry.
        height: of the network input, pixels.
        width: of the network input, pixels.
        options: other anchors or another neck than the detector's own.

    Raises:
        InvalidInput: an unknown family, an input too small for the network, or anchors or a neck that do not fit it.
    """
    options = options or AnchorOptions()
    rule = rule_of(detector, options.neck)
    rows, columns = rule.cells(height), rule.cells(width)
    if min(rows + columns) < 1:
        raise InvalidInput(f"{detector.name} has no cell left at an input of {width}x{height} px; raise 'input_size' or leave it out")
    check_anchors(detector.name, detector.family, variant_of(detector), options)
    if isinstance(rule, PointRule):
        shapes = [np.array([[side, side]], dtype=np.float32) for side in rule.sides]
        return _at_corners(shapes, rows, columns, height=height, width=width)
    if isinstance(rule, AnchorRule):
        sizes, ratios = options.anchor_sizes or rule.sizes, options.aspect_ratios or rule.ratios
        shapes = [_anchor_shapes(*level) for level in zip(sizes, ratios, strict=True)]
        return _at_corners(shapes, rows, columns, height=height, width=width)
    if isinstance(rule, ShapeRule):
        return shape_levels(rule, height=height, width=width, options=options)
    if isinstance(rule, CellRule):
        shapes = [np.tile([[width / across, height / down]], (rule.boxes, 1)) for across, down in zip(columns, rows, strict=True)]
        return _around_middles(shapes, rows, columns, height=height, width=width)
    shapes = default_box_shapes(rule, height=height, width=width, options=options)
    return _at_middles(rule, shapes, rows, columns, height=height, width=width)


def check_anchors(name: str, family: str, variant: str, options: AnchorOptions) -> None:
    """Refuse anchors that a network cannot have, or not under this neck; none at all are always right.

    Raises:
        InvalidInput: one sentence that names the option and the remedy.
    """
    rule = rule_under(name, family, variant, options.neck)
    sizes, ratios = options.anchor_sizes, options.aspect_ratios
    if not options.has_anchors:
        return
    if isinstance(rule, PointRule | CellRule):
        raise InvalidInput(f"{name} has no anchors; leave out anchor_sizes and aspect_ratios")
    _check_levels(name, len(rule.cells(1024)), sizes, ratios)
    if isinstance(rule, DefaultBoxRule | ShapeRule):
        if sizes is None or ratios is None:
            own = "default boxes" if isinstance(rule, DefaultBoxRule) else "pairs of width and height"
            raise InvalidInput(f"{name} takes anchor_sizes and aspect_ratios together, in place of its {own}; give both")
    else:
        sizes, ratios = sizes or rule.sizes, ratios or rule.ratios
    _check_sides(name, sizes, ratios, rounded=isinstance(rule, AnchorRule))
    counts = [len(level) * len(other) for level, other in zip(sizes, ratios, strict=True)]
    if max(counts) > MOST_ANCHORS:
        raise InvalidInput(f"{name} would have {max(counts)} anchors at a place; give at most {MOST_ANCHORS} (sizes times ratios)")
    if family in SHARED_HEAD and len(set(counts)) > 1:
        shown = ", ".join(map(str, counts))
        raise InvalidInput(f"{name} has one head for all levels, so each needs as many anchors; sizes times ratios are {shown}")


def _check_levels(name: str, levels: int, sizes: PerLevel | None, ratios: PerLevel | None) -> None:
    for option, value in (("anchor_sizes", sizes), ("aspect_ratios", ratios)):
        if value is not None and len(value) != levels:
            has = f"{levels} level{'s' if levels > 1 else ''}"
            raise InvalidInput(f"{name} has {has} and {option} has {len(value)}; give one list for each level, the finest first")
        if value is not None and not all(value):
            raise InvalidInput(f"{option} of {name} has an empty list; give every level at least one number")


def _check_sides(name: str, sizes: PerLevel, ratios: PerLevel, *, rounded: bool) -> None:
    for level, (level_sizes, level_ratios) in enumerate(zip(sizes, ratios, strict=True), start=1):
        if not all(math.isfinite(ratio) and 0.05 <= ratio <= 20 for ratio in level_ratios):
            raise InvalidInput(f"aspect_ratios of {name}, level {level}: a ratio is height / width, between 0.05 and 20; correct it")
        if not all(math.isfinite(size) and 1 <= size <= 4096 for size in level_sizes):
            raise InvalidInput(
                f"anchor_sizes of {name}, level {level}: a size is in pixels of the network input, from 1 to 4096; correct it"
            )
        if rounded and _anchor_shapes(level_sizes, level_ratios).min() < LEAST_SIDE:
            raise InvalidInput(f"an anchor of {name}, level {level}, is under {LEAST_SIDE:g} px wide or high; give a larger size")


def _anchor_shapes(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Return width and height of a place's anchors, float32 [ratios x sizes, 2], rounded as torchvision's AnchorGenerator does."""
    scales = np.asarray(sizes, dtype=np.float32)
    tall = np.sqrt(np.asarray(ratios, dtype=np.float32))
    wide = np.float32(1) / tall
    halves = np.stack([(wide[:, None] * scales).ravel(), (tall[:, None] * scales).ravel()], axis=1) / np.float32(2)
    return 2 * np.round(halves)


def default_box_shapes(rule: DefaultBoxRule, *, height: int, width: int, options: AnchorOptions) -> list[np.ndarray]:
    """Return width and height relative to the input, float32 [boxes at a place, 2], of each level of SSD, none over 1."""
    pairs = _given_pairs(options, height=height, width=width)
    if not pairs:
        pairs = [_published_pairs(rule, level) for level in range(len(rule.ratios))]
        pairs = [[pair for level in pairs for pair in level]] if rule.together else pairs
    return [np.minimum(np.asarray(level, dtype=np.float32), np.float32(1)) for level in pairs]


def shape_levels(rule: ShapeRule, *, height: int, width: int, options: AnchorOptions) -> tuple[Level, ...]:
    """Return the levels of anchors around the middles of cells: those given, or the rule's grown with the input."""
    own = [[(wide / rule.side, high / rule.side) for wide, high in level] for level in rule.shapes]
    pairs = _given_pairs(options, height=height, width=width) or own
    shapes = [np.array(level) * (width, height) for level in pairs]
    return _around_middles(shapes, rule.cells(height), rule.cells(width), height=height, width=width)


def _given_pairs(options: AnchorOptions, *, height: int, width: int) -> list[list[tuple[float, float]]]:
    """Return width and height relative to the input of every size in every ratio, for each level; none where they are not given."""
    if options.anchor_sizes is None or options.aspect_ratios is None:
        return []
    return [
        [(size / math.sqrt(ratio) / width, size * math.sqrt(ratio) / height) for ratio in ratios for size in sizes]
        for sizes, ratios in zip(options.anchor_sizes, options.aspect_ratios, strict=True)
    ]


def _published_pairs(rule: DefaultBoxRule, level: int) -> list[tuple[float, float]]:
    scale, between = rule.scales[level], math.sqrt(rule.scales[level] * rule.scales[level + 1])
    pairs = [(scale, scale), (between, between)]
    for ratio in rule.ratios[level]:
        wide, narrow = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        pairs += [(wide, narrow), (narrow, wide)]
    return pairs


def _at_corners(shapes: Sequence[np.ndarray], rows: Sequence[int], columns: Sequence[int], *, height: int, width: int) -> tuple[Level, ...]:
    levels = []
    for shape, row_count, column_count in zip(shapes, rows, columns, strict=True):
        across = np.arange(column_count, dtype=np.float32) * (width // column_count)
        down = np.arange(row_count, dtype=np.float32) * (height // row_count)
        half = shape / np.float32(2)
        cell = (width / column_count, height / row_count)
        levels.append(Level(across - half[:, :1], across + half[:, :1], down - half[:, 1:], down + half[:, 1:], *cell))
    return tuple(levels)


def _around_middles(
    shapes: Sequence[np.ndarray], rows: Sequence[int], columns: Sequence[int], *, height: int, width: int
) -> tuple[Level, ...]:
    """Put boxes of these widths and heights in pixels, [boxes at a place, 2] a level, around the middle of every cell."""
    levels = []
    for shape, row_count, column_count in zip(shapes, rows, columns, strict=True):
        cell_width, cell_height = width / column_count, height / row_count
        across = (np.arange(column_count, dtype=np.float32) + np.float32(0.5)) * np.float32(cell_width)
        down = (np.arange(row_count, dtype=np.float32) + np.float32(0.5)) * np.float32(cell_height)
        half = shape.astype(np.float32) / np.float32(2)
        sides = (across - half[:, :1], across + half[:, :1], down - half[:, 1:], down + half[:, 1:])
        levels.append(Level(*sides, cell_width, cell_height))
    return tuple(levels)


def _at_middles(
    rule: DefaultBoxRule, shapes: Sequence[np.ndarray], rows: Sequence[int], columns: Sequence[int], *, height: int, width: int
) -> tuple[Level, ...]:
    levels = []
    steps = rule.steps if rule.steps and (height, width) == (rule.steps_side, rule.steps_side) else None
    for level, (shape, row_count, column_count) in enumerate(zip(shapes, rows, columns, strict=True)):
        spread_x, spread_y = (width / steps[level], height / steps[level]) if steps else (column_count, row_count)
        across = (np.arange(column_count, dtype=np.float32) + np.float32(0.5)) / np.float32(spread_x)
        down = (np.arange(row_count, dtype=np.float32) + np.float32(0.5)) / np.float32(spread_y)
        half = np.float32(0.5) * shape
        wide, high = np.float32(width), np.float32(height)
        sides = ((across - half[:, :1]) * wide, (across + half[:, :1]) * wide, (down - half[:, 1:]) * high, (down + half[:, 1:]) * high)
        levels.append(Level(*sides, width / column_count, height / row_count))
    return tuple(levels)
