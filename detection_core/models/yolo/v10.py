"""YOLOv10: trained with two heads, detects with one of them and without NMS (Wang et al. 2024, arXiv 2405.14458)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor, nn

from detection_core.catalogue.specs import Neck
from detection_core.models.adapter import Loss, RawOutputs, Target, split_decay
from detection_core.models.yolo.blocks import Bottleneck, C2f, CompactBlock, Conv, DecoupledDown, LargeKernel, PartialAttention, SpatialPool
from detection_core.models.yolo.criterion import aligned_loss
from detection_core.models.yolo.heads import OUTPUTS, Grid, Head, Raw, grid_of, light_branch, require_whole_cells
from detection_core.models.yolo.necks import PanNeck, neck_of, strides_of
from detection_core.models.yolo.trunks import NECK_DEPTH, STAGE_DEPTHS, Size, Trunk
from detection_core.nn.classification import CROSS_ENTROPY, Classification
from detection_core.nn.postprocess import Detections, Limits, select_batch
from detection_core.schemas.manifest import InputPolicy


@dataclass(frozen=True)
class Plan:
    """A size of YOLOv10: which of its eight stages are made of compact blocks, and whether these have large kernels.

    Stages 1 to 4 are the trunk's, 5 to 8 the neck's in the order they are computed.
    """

    size: Size
    compact: tuple[int, ...]
    large_kernel: bool = False


# Stages become compact in the order of their rank, the lowest first, and in a larger network more of them (section 3.2, rank-guided block
# design; figure 3a). The paper has no table of them: these are the ones under which parameters and FLOPs are those of its table 1.
PLANS = {
    "n": Plan(Size(0.33, 0.25, 1024), (8,), large_kernel=True),
    "s": Plan(Size(0.33, 0.50, 1024), (8, 4), large_kernel=True),
    "m": Plan(Size(0.67, 0.75, 768), (8, 4, 7)),
    "b": Plan(Size(0.67, 1.0, 512), (8, 4, 7, 5)),
    "l": Plan(Size(1.0, 1.0, 512), (8, 4, 7, 5)),
    "x": Plan(Size(1.0, 1.25, 512), (8, 4, 7, 5, 3)),
}
PLACES_OF_MANY, PLACES_OF_ONE = 10, 1


@dataclass(frozen=True)
class YoloV10Adapter:
    """YOLOv10 in its six sizes.

    Raw outputs are those of the one-to-one head alone, in the form of YOLOv8's: `box_distributions` [N, places, 64] and `cls_logits` [N,
    places, classes]. The best pairs of place and class are the detections: one object is one place's, so nothing is suppressed.

    `classification` is what the scores of both heads are trained by, and `neck` what they read, as in YOLOv8.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["n", "s", "m", "b", "l", "x"]
    classification: Classification = CROSS_ENTROPY
    neck: Neck = "pan"

    output_names: ClassVar[tuple[str, ...]] = OUTPUTS
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole_cells(self.name, self.input)

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant, "neck": self.neck}

    def build(self) -> YoloV10:
        return YoloV10(PLANS[self.variant], len(self.classes), self.neck)

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        """Add the losses of both heads (consistent dual assignment, section 3.1); the balance is that of the head that detects.

        Both align places by the same measure, so that the one place of an object is the best of its many. Trunk and neck learn from the
        one-to-many head alone: that is where the paper has the rich supervision come from, and to the one-to-one head the nine next best
        places of an object are background, which the shared features are not to be taught.
        """
        assert isinstance(model, YoloV10)
        grid = self._grid.to(images.device)
        features = model.features(images)
        many = aligned_loss(model.one_to_many(features), grid, targets, topk=PLACES_OF_MANY, classification=self.classification)
        alone = model.one_to_one([level.detach() for level in features])
        one = aligned_loss(alone, grid, targets, topk=PLACES_OF_ONE, classification=self.classification)
        parts = {f"many_{name}": value for name, value in many.parts.items()} | {f"one_{name}": value for name, value in one.parts.items()}
        return Loss(parts, one.balance)

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(model(images))

    def export_module(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, YoloV10)
        return RawOutputs(self, model.deployed()).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch(self._grid.read(Raw(*raw)), self.input, nms=False, **limits)

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self.export_module(model)(images)

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    @cached_property
    def _grid(self) -> Grid:
        return grid_of(self.input, strides_of(self.neck))


class YoloV10(nn.Module):
    """The network that is trained: images [N, 3, H, W] to the raw outputs of its one-to-one head; the one-to-many head is asked apart."""

    def __init__(self, plan: Plan, classes: int, kind: Neck = "pan") -> None:
        super().__init__()
        widths = plan.size.channels()[1:]
        self.trunk = trunk(plan)
        self.neck = neck_of(kind, neck(plan))
        if kind == "single":
            self.trunk.keep_last_stride()
            widths = widths[-1:]
        self.one_to_many = Head(widths, classes, light_branch)
        self.one_to_one = Head(widths, classes, light_branch)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return what both heads see."""
        return self.neck(self.trunk(images))

    def forward(self, images: Tensor) -> Raw:
        return self.one_to_one(self.features(images))

    def deployed(self) -> nn.Sequential:
        """Return a copy of what detects: without the one-to-many head, each large kernel with its small one merged into it."""
        part = copy.deepcopy(nn.Sequential(self.trunk, self.neck, self.one_to_one)).eval()
        for module in list(part.modules()):
            for name, child in module.named_children():
                if isinstance(child, LargeKernel):
                    setattr(module, name, child.merged())
        return part


def trunk(plan: Plan) -> Trunk:
    """CSP stages; the two coarsest are reached by decoupled downsampling, and on top are pooling and partial self-attention."""
    widths = plan.size.channels()
    stem = widths[0] // 2
    stages = [
        nn.Sequential(down(narrow, wide), c2f(plan, number, wide, wide, depth))
        for number, (narrow, wide, down, depth) in enumerate(
            zip((stem, *widths), widths, (halve, halve, DecoupledDown, DecoupledDown), STAGE_DEPTHS, strict=False), start=1
        )
    ]
    stages[-1].extend([SpatialPool(widths[-1]), PartialAttention(widths[-1])])
    return Trunk(halve(3, stem), stages)


def neck(plan: Plan) -> PanNeck:
    """CSP blocks on both paths; the way to the coarsest level is decoupled."""
    _, fine, middle, coarse = plan.size.channels()
    return PanNeck(
        down_4=c2f(plan, 5, coarse + middle, middle, NECK_DEPTH),
        down_3=c2f(plan, 6, middle + fine, fine, NECK_DEPTH),
        half_3=halve(fine, fine),
        up_4=c2f(plan, 7, fine + middle, middle, NECK_DEPTH),
        half_4=DecoupledDown(middle, middle),
        up_5=c2f(plan, 8, middle + coarse, coarse, NECK_DEPTH),
    )


def halve(in_channels: int, out_channels: int) -> Conv:
    """Return a strided 3x3 convolution."""
    return Conv(in_channels, out_channels, 3, stride=2)


def c2f(plan: Plan, stage: int, in_channels: int, out_channels: int, depth: int) -> C2f:
    """Return the CSP block of a stage: of compact blocks or of bottlenecks, whose shortcuts are the trunk's alone as in YOLOv8."""
    block: Callable[[int], nn.Module] = partial(Bottleneck, shortcut=stage <= len(STAGE_DEPTHS))
    if stage in plan.compact:
        block = partial(CompactBlock, large_kernel=plan.large_kernel)
    return C2f(in_channels, out_channels, plan.size.blocks(depth), block)
