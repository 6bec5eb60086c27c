"""SSD: one stage, default boxes on several layers of the trunk, hard negative mining (Liu et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from detection_core.models.adapter import RawOutputs, Target, feature_shapes, fixed_anchors, split_decay
from detection_core.nn.backbones import ResNetScales
from detection_core.nn.postprocess import Detections, select_detections
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

PUBLISHED = {"300_vgg16": ssd300_vgg16, "lite320_mobilenet_v3_large": ssdlite320_mobilenet_v3_large}
# The last layer of SSD300 has no padding: below this nothing is left of its feature map.
VGG_SMALLEST_INPUT = 300


@dataclass(frozen=True)
class SsdAdapter:
    """SSD300 and SSDlite in torchvision's published sizes, or compact: five scales from a ResNet-10 or -18, boxes from 7 % of the image.

    Raw outputs: `cls_logits` [N, anchors, 1 + classes] (softmax, 0 is background), `bbox_regression` [N, anchors, 4].
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["resnet10", "resnet18", "300_vgg16", "lite320_mobilenet_v3_large"]

    output_names: ClassVar[tuple[str, ...]] = ("cls_logits", "bbox_regression")
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.variant == "300_vgg16" and min(self.input.height, self.input.width) < VGG_SMALLEST_INPUT:
            raise InvalidInput(f"{self.name} needs an input of at least {VGG_SMALLEST_INPUT} px; raise 'input_size' or leave it out")

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant}

    def build(self) -> SSD:
        outputs = len(self.classes) + 1
        if self.variant in PUBLISHED:
            return PUBLISHED[self.variant](weights=None, weights_backbone=None, num_classes=outputs)
        return SSD(ResNetScales(self.variant), self._generator(), (self.input.height, self.input.width), outputs)

    def loss(self, model: SSD, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        head_outputs = model.head(list(model.backbone(images).values()))
        anchors = self._anchors.to(images.device)
        shifted = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
        matches = [self._match(model, anchors, target["boxes"]) for target in shifted]
        return model.compute_loss(shifted, head_outputs, [anchors] * len(shifted), matches)

    def forward(self, model: SSD, images: Tensor) -> tuple[Tensor, ...]:
        head_outputs = model.head(list(model.backbone(images).values()))
        return tuple(head_outputs[name] for name in self.output_names)

    def export_module(self, model: SSD) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(
        self, raw: tuple[Tensor, ...], *, score_thresh: float, nms_thresh: float, max_det: int, pre_nms_topk: int
    ) -> list[Detections]:
        coder, anchors = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)), self._anchors.to(raw[0].device)
        found = []
        for logits, regression in zip(*raw, strict=True):

            def decode(places: Tensor, regression: Tensor = regression) -> Tensor:
                return coder.decode_single(regression[places], anchors[places])

            found.append(
                select_detections(
                    logits.softmax(dim=1)[:, 1:],
                    decode,
                    height=self.input.height,
                    width=self.input.width,
                    score_thresh=score_thresh,
                    nms_thresh=nms_thresh,
                    max_det=max_det,
                    pre_nms_topk=pre_nms_topk,
                )
            )
        return found

    def count_forward(self, model: SSD, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: SSD, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _match(self, model: SSD, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Return for each anchor the index of its box, or -1 (section 2.2)."""
        if len(boxes) == 0:
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        return model.proposal_matcher(box_iou(boxes, anchors))

    def _generator(self) -> DefaultBoxGenerator:
        if self.variant == "300_vgg16":
            # The steps are those of the published 300 px; another size spreads its boxes evenly instead.
            steps = [8, 16, 32, 64, 100, 300] if (self.input.height, self.input.width) == (300, 300) else None
            ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
            return DefaultBoxGenerator(ratios, scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], steps=steps)
        if self.variant == "lite320_mobilenet_v3_large":
            return DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
        return DefaultBoxGenerator([[2] for _ in range(5)], scales=[0.07, 0.14, 0.28, 0.5, 0.75, 1.0])

    @cached_property
    def _anchors(self) -> Tensor:
        with torch.device("meta"):
            shapes = feature_shapes(self.build().backbone, self.input)
        return fixed_anchors(self._generator(), shapes, self.input)
