"""SSD: one stage, default boxes on several layers of the trunk, hard negative mining (Liu et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large
from torchvision.models.detection._utils import BoxCoder, retrieve_out_channels
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation

from detection_core.assignment.layouts import OWN_NECKS, AnchorOptions, DefaultBoxRule, PerLevel, default_box_shapes, rule_under
from detection_core.catalogue.specs import Neck
from detection_core.models.adapter import (
    Loss,
    RawOutputs,
    Target,
    checked_anchors,
    feature_shapes,
    fixed_anchors,
    objects_of,
    refuse_compact_options,
    split_decay,
)
from detection_core.nn.assigners import match_by_iou
from detection_core.nn.backbones import ResNetScales
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import HARD_MINING, Classification, class_targets, classification_loss, mined
from detection_core.nn.losses import normalised, paired_iou, prior_bias
from detection_core.nn.necks import NeckedResNet
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

PUBLISHED = {"300_vgg16": ssd300_vgg16, "lite320_mobilenet_v3_large": ssdlite320_mobilenet_v3_large}
# The last layer of SSD300 has no padding: below this nothing is left of its feature map.
VGG_SMALLEST_INPUT = 300
COMPACT_CHANNELS = 128
CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


@dataclass(frozen=True)
class SsdAdapter:
    """SSD300 and SSDlite in torchvision's published sizes, or compact: five scales from a ResNet-10 or -18, boxes from 7 % of the image.

    Raw outputs: `cls_logits` [N, anchors, 1 + classes] (softmax, 0 is background), `bbox_regression` [N, anchors, 4].

    `anchor_sizes` (pixels) with `aspect_ratios` (height / width), for each level, take the place of the variant's default boxes: every
    size in every ratio around the middle of each cell. `classification` is the loss of the scores, hard mining where none is told
    (section 2.2); under any other `cls_logits` is [N, anchors, classes] (sigmoid). `neck` takes the place of a compact variant's scales;
    under `single` all default boxes stand on one level.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["resnet10", "resnet18", "300_vgg16", "lite320_mobilenet_v3_large"]
    anchor_sizes: PerLevel | None = None
    aspect_ratios: PerLevel | None = None
    classification: Classification = HARD_MINING
    neck: Neck | None = None

    output_names: ClassVar[tuple[str, ...]] = ("cls_logits", "bbox_regression")
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.variant == "300_vgg16" and min(self.input.height, self.input.width) < VGG_SMALLEST_INPUT:
            raise InvalidInput(f"{self.name} needs an input of at least {VGG_SMALLEST_INPUT} px; raise 'input_size' or leave it out")
        if self._published:
            refuse_compact_options(self.name, neck=self.neck)
        checked_anchors(self, "ssd", self.neck)

    @property
    def options(self) -> dict[str, Any]:
        own: dict[str, Any] = {} if self._published else {"neck": self._neck}
        # The loss decides how the scores are read, so here it belongs to the network.
        own |= {} if self._softmax else {"classification": self.classification.given()}
        return {"variant": self.variant} | own | checked_anchors(self, "ssd", self.neck)

    @property
    def _published(self) -> bool:
        return self.variant in PUBLISHED

    @property
    def _neck(self) -> Neck:
        return self.neck or OWN_NECKS["ssd", self.variant]

    @property
    def _softmax(self) -> bool:
        return self.classification.loss == "hard_mining"

    def build(self) -> SSD:
        outputs = len(self.classes) + self._softmax
        model = self._build_published(outputs) if self._published else self._build_compact(outputs)
        if not self._softmax:
            for layers in model.head.classification_head.module_list:
                *_, bias = layers.parameters()  # of the last convolution
                nn.init.constant_(bias, prior_bias())
        return model

    def loss(self, model: SSD, images: Tensor, targets: Sequence[Target]) -> Loss:
        logits, regression = (part.float() for part in self.forward(model, images))
        anchors = self._anchors.to(images.device)
        given = torch.stack([self.assign(anchors, target["boxes"]) for target in targets])
        positive, objects = given >= 0, objects_of(given, targets)
        regression, chosen = regression[positive], anchors.expand(len(targets), -1, -1)[positive]
        labels = [target["labels"] for target in targets]
        if self._softmax:
            scores = self._softmax_loss(logits, given, labels)
        else:
            overlap = paired_iou(CODER.decode_single(regression.detach(), chosen), objects) if self.classification.learns_quality else None
            wanted = class_targets(given, labels, len(self.classes), overlap)
            scores = classification_loss(self.classification, logits, wanted, given)
        boxes = functional.smooth_l1_loss(regression, CODER.encode_single(objects, chosen), reduction="none")
        parts = {"bbox_regression": normalised(boxes, positive), "classification": normalised(scores, positive)}
        return Loss(parts, balance_of(scores, given, self._places_per_level))

    def _softmax_loss(self, logits: Tensor, given: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Return the cross-entropy of each place [images, places] with background as a class, 0 at negatives that mining leaves out."""
        classes = torch.zeros_like(given)  # 0 is background
        classes[given >= 0] = torch.cat([own[one[one >= 0]] + 1 for one, own in zip(given, labels, strict=True)])
        entropy = functional.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(given)
        return mined(entropy, given, ratio=self.classification.value("negatives_per_positive"))

    def assign(self, anchors: Tensor, objects: Tensor) -> Tensor:
        """Return the object that each default box is trained on, as `detection_core.nn.assigners` does (section 2.2)."""
        return match_by_iou(anchors, objects, above=0.5, below=0.5, claim="own")

    def forward(self, model: SSD, images: Tensor) -> tuple[Tensor, ...]:
        head_outputs = model.head(list(model.backbone(images).values()))
        return tuple(head_outputs[name] for name in self.output_names)

    def export_module(self, model: SSD) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(*image) for image in zip(*raw, strict=True)), self.input, **limits)

    def _read(self, logits: Tensor, regression: Tensor) -> tuple[Tensor, Decode]:
        anchors = self._anchors.to(logits.device)
        scores = logits.softmax(dim=1)[:, 1:] if self._softmax else logits.sigmoid()
        return scores, lambda places: CODER.decode_single(regression[places], anchors[places])

    def count_forward(self, model: SSD, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: SSD, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _build_compact(self, outputs: int) -> SSD:
        if self._neck == "multi":
            backbone: nn.Module = ResNetScales(self.variant, channels=COMPACT_CHANNELS)
        else:
            further = [Conv2dNormActivation(COMPACT_CHANNELS, COMPACT_CHANNELS, stride=2) for _ in range(2)]
            backbone = NeckedResNet(self.variant, self._neck, channels=COMPACT_CHANNELS, further=further)
        generator = self._generator()
        per_place = generator.num_anchors_per_location()
        head = SSDHead([COMPACT_CHANNELS] * len(per_place), per_place, outputs)
        return SSD(backbone, generator, (self.input.height, self.input.width), outputs, head=head)

    def _build_published(self, outputs: int) -> SSD:
        model = PUBLISHED[self.variant](weights=None, weights_backbone=None, num_classes=outputs)
        if self.anchor_sizes is None:
            return model
        model.anchor_generator = self._generator()
        per_place = model.anchor_generator.num_anchors_per_location()
        channels = retrieve_out_channels(model.backbone, (self.input.width, self.input.height))
        if self.variant == "300_vgg16":
            model.head = SSDHead(channels, per_place, outputs)
        else:
            model.head = SSDLiteHead(channels, per_place, outputs, partial(nn.BatchNorm2d, eps=0.001, momentum=0.03))
        return model

    def _generator(self) -> ShapedBoxes:
        rule, height, width = rule_under(self.name, "ssd", self.variant, self.neck), self.input.height, self.input.width
        assert isinstance(rule, DefaultBoxRule)
        options = AnchorOptions(anchor_sizes=self.anchor_sizes, aspect_ratios=self.aspect_ratios)
        # The published steps are those of the published input; another size spreads its boxes evenly instead.
        steps = list(rule.steps) if rule.steps and (height, width) == (rule.steps_side, rule.steps_side) else None
        return ShapedBoxes(
            [torch.from_numpy(level) for level in default_box_shapes(rule, height=height, width=width, options=options)], steps
        )

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


class ShapedBoxes(DefaultBoxGenerator):
    """Default boxes of given shapes: for each level [boxes at a place, 2], width and height relative to the input."""

    def __init__(self, shapes: Sequence[Tensor], steps: list[int] | None) -> None:
        super().__init__([[] for _ in shapes], scales=[1.0] * (len(shapes) + 1), steps=steps)
        self._wh_pairs = list(shapes)

    def num_anchors_per_location(self) -> list[int]:
        """Return the boxes at a place of each level."""
        return [len(shapes) for shapes in self._wh_pairs]
