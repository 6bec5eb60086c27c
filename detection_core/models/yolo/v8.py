"""YOLOv8: one stage, no anchors, task-aligned places, boxes as distributions (Jocher et al. 2023).

There is no paper. The network follows its description in Terven et al. 2023 (arXiv 2304.00501, section on YOLOv8) and the facts of
keras-cv's implementation (Apache-2.0); its sizes are the published ones, and a test counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor, nn

from detection_core.catalogue.specs import Neck
from detection_core.models.adapter import Loss, RawOutputs, Target, split_decay
from detection_core.models.yolo.blocks import Bottleneck, C2f, Conv, SpatialPool
from detection_core.models.yolo.criterion import aligned_loss
from detection_core.models.yolo.heads import OUTPUTS, Grid, Head, Raw, grid_of, plain_branch, require_whole_cells
from detection_core.models.yolo.necks import PanNeck, neck_of, strides_of
from detection_core.models.yolo.trunks import NECK_DEPTH, STAGE_DEPTHS, Size, Trunk
from detection_core.nn.classification import CROSS_ENTROPY, Classification
from detection_core.nn.postprocess import Detections, Limits, select_batch
from detection_core.schemas.manifest import InputPolicy

SIZES = {
    "n": Size(0.33, 0.25, 1024),
    "s": Size(0.33, 0.50, 1024),
    "m": Size(0.67, 0.75, 768),
    "l": Size(1.0, 1.0, 512),
    "x": Size(1.0, 1.25, 512),
}
PLACES_PER_OBJECT = 10


@dataclass(frozen=True)
class YoloV8Adapter:
    """YOLOv8 in its five sizes.

    Raw outputs: `box_distributions` [N, places, 64], for left, top, right and bottom each logits of the distances 0 to 15 strides;
    `cls_logits` [N, places, classes]. Places are the middles of all cells of stride 8, then 16, then 32, row by row.

    `classification` is what the scores are trained by, always towards the quality of a place. `neck` stands in the place of the paths
    down and up; under `single` there are the places of stride 16 alone.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["n", "s", "m", "l", "x"]
    classification: Classification = CROSS_ENTROPY
    neck: Neck = "pan"

    output_names: ClassVar[tuple[str, ...]] = OUTPUTS
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole_cells(self.name, self.input)

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant, "neck": self.neck}

    def build(self) -> YoloV8:
        return YoloV8(SIZES[self.variant], len(self.classes), self.neck)

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        grid = self._grid.to(images.device)
        return aligned_loss(model(images), grid, targets, topk=PLACES_PER_OBJECT, classification=self.classification)

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(model(images))

    def export_module(self, model: nn.Module) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch(self._grid.read(Raw(*raw)), self.input, **limits)

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    @cached_property
    def _grid(self) -> Grid:
        return grid_of(self.input, strides_of(self.neck))


class YoloV8(nn.Module):
    """The network: images [N, 3, H, W] to its raw outputs."""

    def __init__(self, size: Size, classes: int, kind: Neck = "pan") -> None:
        super().__init__()
        self.trunk = trunk(size)
        self.neck = neck_of(kind, neck(size))
        widths = size.channels()[1:]
        if kind == "single":
            self.trunk.keep_last_stride()
            widths = widths[-1:]
        self.head = Head(widths, classes, plain_branch)

    def forward(self, images: Tensor) -> Raw:
        return self.head(self.neck(self.trunk(images)))


def trunk(size: Size) -> Trunk:
    """CSP stages after strided 3x3 convolutions, with pooling at the end."""
    widths = size.channels()
    stem = widths[0] // 2
    stages = [
        nn.Sequential(Conv(narrow, wide, 3, stride=2), c2f(wide, wide, size.blocks(depth), shortcut=True))
        for narrow, wide, depth in zip((stem, *widths), widths, STAGE_DEPTHS, strict=False)
    ]
    stages[-1].append(SpatialPool(widths[-1]))
    return Trunk(Conv(3, stem, 3, stride=2), stages)


def neck(size: Size) -> PanNeck:
    """CSP blocks without shortcuts on both paths."""
    _, fine, middle, coarse = size.channels()
    depth = size.blocks(NECK_DEPTH)
    return PanNeck(
        down_4=c2f(coarse + middle, middle, depth, shortcut=False),
        down_3=c2f(middle + fine, fine, depth, shortcut=False),
        half_3=Conv(fine, fine, 3, stride=2),
        up_4=c2f(fine + middle, middle, depth, shortcut=False),
        half_4=Conv(middle, middle, 3, stride=2),
        up_5=c2f(middle + coarse, coarse, depth, shortcut=False),
    )


def c2f(in_channels: int, out_channels: int, depth: int, *, shortcut: bool) -> C2f:
    """Return a CSP block of bottlenecks."""
    return C2f(in_channels, out_channels, depth, partial(Bottleneck, shortcut=shortcut))
