"""RetinaNet: one stage, anchors over a pyramid, focal loss (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import RetinaNet, retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead

from detection_core.assignment.layouts import OWN_NECKS, PerLevel
from detection_core.catalogue.specs import Neck
from detection_core.models.adapter import (
    Loss,
    RawOutputs,
    Target,
    anchor_generator,
    checked_anchors,
    feature_shapes,
    fixed_anchors,
    objects_of,
    refuse_compact_options,
    split_decay,
)
from detection_core.nn.assigners import match_by_iou
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import FOCAL, Classification, class_targets, classification_loss
from detection_core.nn.losses import box_loss, normalised, paired_iou
from detection_core.nn.necks import NeckedResNet
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.schemas.manifest import InputPolicy

PUBLISHED = {"resnet50_fpn": retinanet_resnet50_fpn, "resnet50_fpn_v2": retinanet_resnet50_fpn_v2}
# The published heads have four; on a small input two learn as well in less time.
COMPACT_HEAD_CONVS = 2
CODER = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


@dataclass(frozen=True)
class RetinaNetAdapter:
    """RetinaNet in torchvision's published sizes, or compact: ResNet-10 or -18, pyramid P3 to P6, light heads, anchors from 16 px.

    `anchor_sizes` (pixels) and `aspect_ratios` (height / width), for each level, take the place of the variant's own (section 4).
    `classification` is the loss of the scores, focal where none is told (section 3). `neck` takes the place of a compact variant's
    pyramid; under `single` all anchors stand on one level.

    Raw outputs: `cls_logits` [N, anchors, classes], `bbox_regression` [N, anchors, 4] (centre shift and log size).
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["resnet10_fpn", "resnet18_fpn", "resnet50_fpn", "resnet50_fpn_v2"]
    head_convs: Annotated[int, Field(ge=1, le=4)] | None = None
    anchor_sizes: PerLevel | None = None
    aspect_ratios: PerLevel | None = None
    classification: Classification = FOCAL
    neck: Neck | None = None

    output_names: ClassVar[tuple[str, ...]] = ("cls_logits", "bbox_regression")
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self._published:
            refuse_compact_options(self.name, head_convs=self.head_convs, neck=self.neck)
        checked_anchors(self, "retinanet", self.neck)

    @property
    def options(self) -> dict[str, Any]:
        own = {} if self._published else {"head_convs": self._head_convs, "neck": self._neck}
        return {"variant": self.variant} | own | checked_anchors(self, "retinanet", self.neck)

    @property
    def _published(self) -> bool:
        return self.variant in PUBLISHED

    @property
    def _head_convs(self) -> int:
        return self.head_convs or COMPACT_HEAD_CONVS

    @property
    def _neck(self) -> Neck:
        return self.neck or OWN_NECKS["retinanet", self.variant]

    def build(self) -> RetinaNet:
        if self._published:
            return self._build_published()
        trunk, generator = self.variant.removesuffix("_fpn"), self._generator()
        backbone = NeckedResNet(trunk, self._neck, further=[nn.MaxPool2d(1, stride=2)])
        anchors_per_place = generator.num_anchors_per_location()[0]
        head = RetinaNetHead(backbone.out_channels, anchors_per_place, len(self.classes), norm_layer=_group_norm)
        for part in (head.classification_head, head.regression_head):
            part.conv = part.conv[: self._head_convs]
        return RetinaNet(backbone, len(self.classes), anchor_generator=generator, head=head)

    def loss(self, model: RetinaNet, images: Tensor, targets: Sequence[Target]) -> Loss:
        logits, regression = (part.float() for part in self.forward(model, images))
        anchors = self._anchors.to(images.device)
        given = torch.stack([self.assign(anchors, target["boxes"]) for target in targets])
        positive, objects = given >= 0, objects_of(given, targets)
        regression, chosen = regression[positive], anchors.expand(len(targets), -1, -1)[positive]
        quality = None
        if self.classification.learns_quality:
            quality = paired_iou(CODER.decode_single(regression.detach(), chosen), objects)
        wanted = class_targets(given, [target["labels"] for target in targets], len(self.classes), quality)
        scores = classification_loss(self.classification, logits, wanted, given)
        boxes = self._box_loss(regression, chosen, objects).split(positive.sum(dim=1).tolist())
        parts = {
            name: torch.stack([normalised(one, places) for one, places in zip(loss, positive, strict=True)]).mean()
            for name, loss in {"classification": scores, "bbox_regression": boxes}.items()
        }
        return Loss(parts, balance_of(scores, given, self._places_per_level))

    def assign(self, anchors: Tensor, objects: Tensor) -> Tensor:
        """Return the object that each anchor is trained on, as `detection_core.nn.assigners` does (section 4)."""
        return match_by_iou(anchors, objects, above=0.5, below=0.4)

    def _box_loss(self, regression: Tensor, anchors: Tensor, objects: Tensor) -> Tensor:
        if self.variant == "resnet50_fpn":
            return functional.l1_loss(regression, CODER.encode_single(objects, anchors), reduction="none")
        # As in the v2 recipe; the plain L1 of v1 learns slower from scratch.
        return box_loss(CODER.decode_single(regression, anchors), objects, kind="giou")

    def forward(self, model: RetinaNet, images: Tensor) -> tuple[Tensor, ...]:
        head_outputs = model.head(list(model.backbone(images).values()))
        return tuple(head_outputs[name] for name in self.output_names)

    def export_module(self, model: RetinaNet) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(*image) for image in zip(*raw, strict=True)), self.input, **limits)

    def _read(self, logits: Tensor, regression: Tensor) -> tuple[Tensor, Decode]:
        anchors = self._anchors.to(logits.device)
        return logits.sigmoid(), lambda places: CODER.decode_single(regression[places], anchors[places])

    def count_forward(self, model: RetinaNet, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: RetinaNet, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _build_published(self) -> RetinaNet:
        model = PUBLISHED[self.variant](weights=None, weights_backbone=None, num_classes=len(self.classes))
        if self.anchor_sizes is None and self.aspect_ratios is None:
            return model
        model.anchor_generator = self._generator()
        per_place = model.anchor_generator.num_anchors_per_location()[0]
        if per_place != model.head.classification_head.num_anchors:
            newer = self.variant.endswith("_v2")
            norm_layer = _group_norm if newer else None
            model.head = RetinaNetHead(model.backbone.out_channels, per_place, len(self.classes), norm_layer=norm_layer)
        return model

    def _generator(self) -> AnchorGenerator:
        return anchor_generator(self, "retinanet", self.neck)

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        with torch.device("meta"):
            return feature_shapes(self.build().backbone, self.input)

    @cached_property
    def _places_per_level(self) -> list[int]:
        boxes = self._generator().num_anchors_per_location()
        return [height * width * count for (height, width), count in zip(self._shapes, boxes, strict=True)]

    @cached_property
    def _anchors(self) -> Tensor:
        return fixed_anchors(self._generator(), self._shapes, self.input)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(32, channels)
