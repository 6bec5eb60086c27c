"""FCOS: one stage, no anchors, centre-ness (Tian et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FCOS, fcos_resnet50_fpn
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

from detection_core.assignment.layouts import OWN_NECKS, PointRule, rule_under
from detection_core.catalogue.specs import Neck
from detection_core.models.adapter import (
    Loss,
    RawOutputs,
    Target,
    feature_shapes,
    fixed_anchors,
    objects_of,
    refuse_compact_options,
    split_decay,
)
from detection_core.nn.assigners import match_points
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import FOCAL, Classification, class_targets, classification_loss
from detection_core.nn.losses import box_loss, centreness_of, normalised, paired_iou
from detection_core.nn.necks import NeckedResNet
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.schemas.manifest import InputPolicy

# The published heads have four; on a small input two learn as well in less time.
COMPACT_HEAD_CONVS = 2
CENTRE_RADIUS = 1.5  # strides around an object's middle in which points are trained on it
CODER = BoxLinearCoder(normalize_by_size=True)


@dataclass(frozen=True)
class FcosAdapter:
    """FCOS in torchvision's published size, or compact: ResNet-10 or -18, pyramid P3 to P6, light heads.

    Raw outputs: `cls_logits` [N, places, classes], `bbox_regression` [N, places, 4] (left, top, right, bottom in strides),
    `bbox_ctrness` [N, places, 1] logits.

    `classification` is the loss of the scores, focal where none is told (section 3.1); the centre-ness is there beside each. `neck` takes
    the place of a compact variant's pyramid; the one level of `single` takes objects of all sizes.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["resnet10_fpn", "resnet18_fpn", "resnet50_fpn"]
    head_convs: Annotated[int, Field(ge=1, le=8)] | None = None
    classification: Classification = FOCAL
    neck: Neck | None = None

    output_names: ClassVar[tuple[str, ...]] = ("cls_logits", "bbox_regression", "bbox_ctrness")
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self._published:
            refuse_compact_options(self.name, head_convs=self.head_convs, neck=self.neck)

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant} | ({} if self._published else {"head_convs": self._head_convs, "neck": self._neck})

    @property
    def _published(self) -> bool:
        return self.variant == "resnet50_fpn"

    @property
    def _head_convs(self) -> int:
        return self.head_convs or COMPACT_HEAD_CONVS

    @property
    def _neck(self) -> Neck:
        return self.neck or OWN_NECKS["fcos", self.variant]

    def build(self) -> FCOS:
        if self._published:
            return fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=len(self.classes))
        backbone = NeckedResNet(self.variant.removesuffix("_fpn"), self._neck, further=[nn.MaxPool2d(1, stride=2)])
        head = FCOSHead(backbone.out_channels, 1, len(self.classes), num_convs=self._head_convs)
        return FCOS(backbone, len(self.classes), anchor_generator=self._points(), head=head)

    def loss(self, model: FCOS, images: Tensor, targets: Sequence[Target]) -> Loss:
        logits, regression, centreness = (part.float() for part in self.forward(model, images))
        anchors = self._anchors.to(images.device)
        given = torch.stack([self.assign(anchors, target["boxes"]) for target in targets])
        positive, objects = given >= 0, objects_of(given, targets)
        chosen = anchors.expand(len(targets), -1, -1)[positive]
        found = CODER.decode(regression[positive], chosen)
        quality = paired_iou(found.detach(), objects) if self.classification.learns_quality else None
        wanted = class_targets(given, [target["labels"] for target in targets], len(self.classes), quality)
        scores = classification_loss(self.classification, logits, wanted, given)
        boxes = box_loss(found, objects, kind="giou")
        central = functional.binary_cross_entropy_with_logits(
            centreness.squeeze(2)[positive], centreness_of(CODER.encode(chosen, objects)), reduction="none"
        )
        parts = {
            "classification": normalised(scores, positive),
            "bbox_regression": normalised(boxes, positive),
            "bbox_ctrness": normalised(central, positive),
        }
        return Loss(parts, balance_of(scores, given, self._places_per_level))

    def assign(self, anchors: Tensor, objects: Tensor) -> Tensor:
        """Return the object that each point is trained on, as `detection_core.nn.assigners` does.

        Each level is there for sides of 4 to 8 of its strides, the first also for shorter, the last also for longer ones; one that is
        both takes all.
        """
        points, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2] - anchors[:, 0]
        low, high = 4 * sides, 8 * sides
        low[: self._places_per_level[0]] = 0
        high[-self._places_per_level[-1] :] = float("inf")
        return match_points(points, sides, torch.stack([low, high], dim=1), objects, radius=CENTRE_RADIUS)

    def forward(self, model: FCOS, images: Tensor) -> tuple[Tensor, ...]:
        head_outputs = model.head(list(model.backbone(images).values()))
        return tuple(head_outputs[name] for name in self.output_names)

    def export_module(self, model: FCOS) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(*image) for image in zip(*raw, strict=True)), self.input, **limits)

    def _read(self, logits: Tensor, regression: Tensor, centreness: Tensor) -> tuple[Tensor, Decode]:
        anchors = self._anchors.to(logits.device)
        # The geometric mean of both scores, as in the second version of the paper (arXiv 2006.09214, section 3.3).
        scores = (logits.sigmoid() * centreness.sigmoid()).sqrt()
        return scores, lambda places: CODER.decode(regression[places], anchors[places])

    def count_forward(self, model: FCOS, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: FCOS, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _points(self) -> AnchorGenerator:
        """One square of the stride's size at each place: its centre is the point of the paper, its side tells the level."""
        rule = rule_under(self.name, "fcos", self.variant, self.neck)
        assert isinstance(rule, PointRule)
        return AnchorGenerator(tuple((side,) for side in rule.sides), ((1.0,),) * len(rule.sides))

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        with torch.device("meta"):
            return feature_shapes(self.build().backbone, self.input)

    @cached_property
    def _places_per_level(self) -> list[int]:
        return [height * width for height, width in self._shapes]

    @cached_property
    def _anchors(self) -> Tensor:
        return fixed_anchors(self._points(), self._shapes, self.input)
