"""Faster R-CNN: proposals first, then a second stage that classifies and refines them (Ren et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection import (
    FasterRCNN,
    fasterrcnn_mobilenet_v3_large_320_fpn,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign, batched_nms, clip_boxes_to_image

from detection_core.assignment.layouts import PerLevel
from detection_core.models.adapter import (
    Loss,
    RawOutputs,
    Target,
    anchor_generator,
    as_image_list,
    checked_anchors,
    refuse_compact_options,
    split_decay,
)
from detection_core.nn.necks import NeckedResNet
from detection_core.nn.postprocess import Detections, Limits, take_detections
from detection_core.schemas.manifest import InputPolicy

PUBLISHED = {
    "resnet50_fpn": fasterrcnn_resnet50_fpn,
    "resnet50_fpn_v2": fasterrcnn_resnet50_fpn_v2,
    "mobilenet_v3_large_fpn": fasterrcnn_mobilenet_v3_large_fpn,
    "mobilenet_v3_large_320_fpn": fasterrcnn_mobilenet_v3_large_320_fpn,
}
MAX_DET = 100
PRE_NMS_TOPK = 1000
# The published 1000 proposals and 512 samples an image are most of the work on a small input.
COMPACT_PROPOSALS = 300
COMPACT_BOX_SAMPLES = 64


@dataclass(frozen=True)
class FasterRcnnAdapter:
    """Faster R-CNN in torchvision's published sizes, or compact: ResNet-10 or -18, pyramid P3 to P6, few proposals, a light second stage.

    The number of proposals depends on the image, so NMS stays inside the graph. Raw outputs, at most 100 an image, best first and
    not yet thresholded: `boxes` [N, n, 4] xyxy in network-input pixels, `scores` [N, n], `labels` [N, n] 0-based. With several images
    the shorter lists are filled up with score -1.

    `anchor_sizes` (pixels) and `aspect_ratios` (height / width), for each level, take the place of the proposal network's own.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal[
        "resnet10_fpn", "resnet18_fpn", "resnet50_fpn", "resnet50_fpn_v2", "mobilenet_v3_large_fpn", "mobilenet_v3_large_320_fpn"
    ]
    nms_thresh: Annotated[float, Field(gt=0, lt=1)] = 0.5
    proposals: Annotated[int, Field(ge=10, le=2000)] | None = None
    box_samples: Annotated[int, Field(ge=8, le=1024)] | None = None
    anchor_sizes: PerLevel | None = None
    aspect_ratios: PerLevel | None = None

    output_names: ClassVar[tuple[str, ...]] = ("boxes", "scores", "labels")
    nms_in_graph: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variant in PUBLISHED:
            refuse_compact_options(self.name, proposals=self.proposals, box_samples=self.box_samples)
        checked_anchors(self, "faster_rcnn")

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"variant": self.variant, "nms_thresh": self.nms_thresh} | checked_anchors(self, "faster_rcnn")
        if self.variant in PUBLISHED:
            return options
        return options | {"proposals": self._proposals, "box_samples": self._box_samples}

    @property
    def _proposals(self) -> int:
        return self.proposals or COMPACT_PROPOSALS

    @property
    def _box_samples(self) -> int:
        return self.box_samples or COMPACT_BOX_SAMPLES

    def build(self) -> FasterRCNN:
        outputs = len(self.classes) + 1
        return self._build_published(outputs) if self.variant in PUBLISHED else self._build_compact(outputs)

    def loss(self, model: FasterRCNN, images: Tensor, targets: Sequence[Target]) -> Loss:
        image_list = as_image_list(images)
        shifted = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
        features = {level: feature.float() for level, feature in model.backbone(images).items()}
        with torch.autocast(images.device.type, enabled=False):  # torchvision's stages make boxes in the dtype of their heads
            proposals, rpn_losses = model.rpn(image_list, features, shifted)
            _, box_losses = model.roi_heads(features, proposals, image_list.image_sizes, shifted)
        return Loss({**rpn_losses, **box_losses})

    def forward(self, model: FasterRCNN, images: Tensor) -> tuple[Tensor, ...]:
        image_list = as_image_list(images)
        features = model.backbone(images)
        proposals, _ = model.rpn(image_list, features)
        roi_heads = model.roi_heads
        pooled = roi_heads.box_head(roi_heads.box_roi_pool(features, proposals, image_list.image_sizes))
        logits, regression = roi_heads.box_predictor(pooled)
        boxes = roi_heads.box_coder.decode(regression, proposals)[:, 1:]  # [proposals of all images, classes, 4]
        scores = logits.softmax(dim=1)[:, 1:]
        if images.shape[0] == 1:  # the exported graph: no loop over images, whose bounds tracing would freeze
            return tuple(part[None] for part in self._select(boxes, scores, image_list.image_sizes[0]))
        counts = [len(proposals_of_image) for proposals_of_image in proposals]
        found = [
            self._select(boxes_of_image, scores_of_image, size)
            for boxes_of_image, scores_of_image, size in zip(boxes.split(counts), scores.split(counts), image_list.image_sizes, strict=True)
        ]
        fill = (0.0, -1.0, 0.0)
        return tuple(
            pad_sequence(list(parts), batch_first=True, padding_value=value)
            for parts, value in zip(zip(*found, strict=True), fill, strict=True)
        )

    def export_module(self, model: FasterRCNN) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        """Threshold and cut; NMS has been done in the graph with the `nms_thresh` of the options, so the limit changes nothing."""
        return [
            take_detections(boxes, scores, labels, score_thresh=limits["score_thresh"], max_det=limits["max_det"])
            for boxes, scores, labels in zip(*raw, strict=True)
        ]

    def count_forward(self, model: FasterRCNN, images: Tensor) -> None:
        """Both stages, the second on the largest number of proposals."""
        features = model.backbone(images)
        model.rpn.head(list(features.values()))
        roi_heads, channels = model.roi_heads, model.backbone.out_channels
        size = roi_heads.box_roi_pool.output_size
        regions = torch.empty(model.rpn._post_nms_top_n["testing"], channels, *size, device=images.device)
        roi_heads.box_predictor(roi_heads.box_head(regions))

    def param_groups(self, model: FasterRCNN, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _build_published(self, outputs: int) -> FasterRCNN:
        # A threshold on proposals (0.05 in the MobileNet builders) can leave none on an empty image, and no graph runs on none.
        model = PUBLISHED[self.variant](weights=None, weights_backbone=None, num_classes=outputs, rpn_score_thresh=0.0)
        if self.anchor_sizes is None and self.aspect_ratios is None:
            return model
        before = model.rpn.anchor_generator.num_anchors_per_location()[0]
        model.rpn.anchor_generator = self._generator()
        per_place = model.rpn.anchor_generator.num_anchors_per_location()[0]
        if per_place != before:
            model.rpn.head = RPNHead(model.backbone.out_channels, per_place, conv_depth=2 if self.variant.endswith("_v2") else 1)
        return model

    def _build_compact(self, outputs: int) -> FasterRCNN:
        backbone = NeckedResNet(self.variant.removesuffix("_fpn"), "fpn", further=[nn.MaxPool2d(1, stride=2)])
        # Levels change at 64 px instead of 224 (FPN, section 4.2), since inputs are a quarter as large.
        pool = MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2, canonical_scale=64)
        features, width = backbone.out_channels * 7 * 7, 256
        return FasterRCNN(
            backbone,
            rpn_anchor_generator=self._generator(),
            rpn_pre_nms_top_n_train=500,
            rpn_pre_nms_top_n_test=500,
            rpn_post_nms_top_n_train=self._proposals,
            rpn_post_nms_top_n_test=self._proposals,
            rpn_batch_size_per_image=128,
            box_roi_pool=pool,
            box_head=TwoMLPHead(features, width),
            box_predictor=FastRCNNPredictor(width, outputs),
            box_batch_size_per_image=self._box_samples,
        )

    def _generator(self) -> AnchorGenerator:
        return anchor_generator(self, "faster_rcnn")

    def _select(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Rank the pairs of proposal and class of one image, run NMS within each class, keep the best.

        There is no threshold on the scores: something always remains, and an exported graph cannot reduce over nothing.
        """
        proposals, classes = scores.shape
        labels = torch.arange(classes, device=scores.device).expand(proposals, classes).reshape(-1)
        boxes = clip_boxes_to_image(boxes.reshape(-1, 4), size)
        ranked, order = scores.reshape(-1).sort(descending=True)
        order = order[:PRE_NMS_TOPK]
        boxes, scores, labels = boxes[order], ranked[:PRE_NMS_TOPK], labels[order]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)[:MAX_DET]
        return boxes[keep], scores[keep], labels[keep]
