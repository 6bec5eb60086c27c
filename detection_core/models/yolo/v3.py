"""YOLOv3: one stage, three scales with three anchors each, logistic scores (Redmon & Farhadi 2018, arXiv 1804.02767)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_core.assignment.layouts import RULES, AnchorOptions, Level, PerLevel, ShapeRule, shape_levels
from detection_core.models.adapter import Loss, RawOutputs, Target, checked_anchors, split_decay
from detection_core.models.yolo.darknet import DARKNET_53, DARKNET_COMPACT, Darknet, conv
from detection_core.nn.assigners import Grid, match_by_shape
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import CROSS_ENTROPY, Classification, classification_loss
from detection_core.nn.losses import normalised, paired_iou, prior_bias
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

# The coarsest map has stride 32 and is laid over that of stride 16 twice as large, and so on.
SIDE_MULTIPLE = 32
NUMBERS = 5  # of each anchor before the classes: tx, ty, tw, th, objectness
LEAST_SPAN = 0.01  # pixels; a thinner object is learnt as one this thin, for the logarithm of nothing has no end
# Channels of the coarsest head, halved on each finer level, and pairs of 1x1 and 3x3 convolutions before it parts.
HEADS = {"v3": (512, 2), "v3_compact": (256, 0)}
TRUNKS = {"v3": DARKNET_53, "v3_compact": DARKNET_COMPACT}


@dataclass(frozen=True)
class YoloV3Adapter:
    """YOLOv3 with Darknet-53 (`v3`), or with a Darknet of half the channels, fewer blocks and shorter heads (`v3_compact`).

    Raw output: `predictions` [N, places, 5 + classes], logits and free numbers: tx, ty, tw, th, objectness, classes. Places are the anchors
    of the cells of strides 8, 16 and 32, row by row. The middle of a box is its cell's corner plus sigmoid(tx), sigmoid(ty) cells, its
    sides are the anchor's times exp(tw), exp(th) (section 2.1). The score of a class is its probability times the objectness.

    `anchor_sizes` (pixels) with `aspect_ratios` (height / width), for each level, take the place of the paper's nine anchors, which are
    pairs of width and height for an input of 416 px and grow with the input: every size in every ratio.

    The loss (sections 2.1 and 2.2) is summed and divided by the number of objects learnt. The paper sets the gradient of tx to truth minus
    prediction: that of cross-entropy against the middle's place in its cell, which is used for x and y, for the squared error of tx itself
    has no end where a middle lies on the border of its cell. `classification` is the loss of the objectness alone, which tells object from
    background; classes are learnt at the positives by cross-entropy.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["v3", "v3_compact"]
    anchor_sizes: PerLevel | None = None
    aspect_ratios: PerLevel | None = None
    classification: Classification = CROSS_ENTROPY

    output_names: ClassVar[tuple[str, ...]] = ("predictions",)
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.input.height % SIDE_MULTIPLE or self.input.width % SIDE_MULTIPLE:
            raise InvalidInput(
                f"{self.name} needs an input whose sides are multiples of {SIDE_MULTIPLE} px; change 'input_size', e.g. to 416"
            )
        checked_anchors(self, "yolo")

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant} | checked_anchors(self, "yolo")

    def build(self) -> YoloV3:
        return YoloV3(self.variant, [level.per_place for level in self._levels], NUMBERS + len(self.classes))

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        predictions = model(images)
        given = torch.stack([self.assign(self._anchors.to(images.device), target["boxes"]) for target in targets])  # [N, places]
        positive = given >= 0
        objects = torch.cat([target["boxes"][one[one >= 0]] for one, target in zip(given, targets, strict=True)])
        labels = torch.cat([target["labels"][one[one >= 0]] for one, target in zip(given, targets, strict=True)])
        places = positive.nonzero()[:, 1]
        told, wanted = predictions[positive], self._encode(objects, places)  # [m, 5 + C], [m, 4]
        entropy = functional.binary_cross_entropy_with_logits
        there = positive.float()
        if self.classification.learns_quality:
            there[positive] = paired_iou(self._decode(told[:, :4].detach(), places), objects)
        objectness = classification_loss(self.classification, predictions[..., 4:NUMBERS], there[..., None], given).squeeze(2)
        classes = functional.one_hot(labels, len(self.classes)).float()
        parts = {
            "centre": normalised(entropy(told[:, :2], wanted[:, :2], reduction="none"), positive),
            "size": normalised((told[:, 2:4] - wanted[:, 2:]) ** 2 / 2, positive),
            "objectness": normalised(objectness, positive),
            "classification": normalised(entropy(told[:, NUMBERS:], classes, reduction="none"), positive),
        }
        return Loss(parts, balance_of(objectness, given, [level.count for level in self._levels]))

    def assign(self, anchors: Tensor, objects: Tensor) -> Tensor:
        """Return the object that each anchor is trained on, as `detection_core.nn.assigners` does (section 2.1)."""
        return match_by_shape(anchors, objects, self._grids)

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        return (model(images),)

    def export_module(self, model: nn.Module) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(predictions) for predictions in raw[0]), self.input, **limits)

    def _read(self, predictions: Tensor) -> tuple[Tensor, Decode]:
        scores = predictions[:, 4:NUMBERS].sigmoid() * predictions[:, NUMBERS:].sigmoid()
        return scores, lambda places: self._decode(predictions[places, :4], places)

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _decode(self, told: Tensor, places: Tensor) -> Tensor:
        """Turn tx, ty, tw, th [m, 4] of some places [m] into boxes [m, 4], xyxy in network-input pixels."""
        corner, cell, sides = (part.to(told.device)[places] for part in self._geometry)
        middle, half = corner + told[:, :2].sigmoid() * cell, told[:, 2:].exp() * sides / 2
        return torch.cat([middle - half, middle + half], dim=1)

    def _encode(self, objects: Tensor, places: Tensor) -> Tensor:
        """Turn objects [m, 4] into what their places [m] are to tell: x and y in parts of the cell, tw and th; [m, 4]."""
        corner, cell, sides = (part.to(objects.device)[places] for part in self._geometry)
        within = ((objects[:, :2] + objects[:, 2:]) / 2 - corner) / cell
        spans = (objects[:, 2:] - objects[:, :2]).clamp(min=LEAST_SPAN)
        return torch.cat([within.clamp(0, 1), (spans / sides).log()], dim=1)

    @cached_property
    def _levels(self) -> tuple[Level, ...]:
        rule = RULES["yolo", self.variant]
        assert isinstance(rule, ShapeRule)
        options = AnchorOptions(anchor_sizes=self.anchor_sizes, aspect_ratios=self.aspect_ratios)
        return shape_levels(rule, height=self.input.height, width=self.input.width, options=options)

    @cached_property
    def _grids(self) -> tuple[Grid, ...]:
        return tuple(Grid(level.rows, level.columns, level.cell_width, level.cell_height, level.per_place) for level in self._levels)

    @cached_property
    def _anchors(self) -> Tensor:
        """The anchors [places, 4] in the middle of their cells, xyxy in network-input pixels."""
        return torch.from_numpy(np.concatenate([level.boxes() for level in self._levels]))

    @cached_property
    def _geometry(self) -> tuple[Tensor, Tensor, Tensor]:
        """The upper left corner and the sides of each place's cell, and the sides of its anchor, [places, 2] each, x and y, pixels."""
        cells = torch.cat([torch.tensor([[grid.width, grid.height]]).expand(grid.count, 2) for grid in self._grids])
        corners = []
        for grid in self._grids:
            cell = torch.arange(grid.rows * grid.columns).repeat_interleave(grid.per_cell)
            corners.append(torch.stack([cell % grid.columns * grid.width, cell // grid.columns * grid.height], dim=1))
        return torch.cat(corners), cells, self._anchors[:, 2:] - self._anchors[:, :2]


class YoloV3(nn.Module):
    """The network: images [N, 3, H, W] to what each anchor tells, [N, places, outputs] (section 2.3).

    The coarsest map is read first; what its head knows is laid over the next finer map, twice as large.
    """

    def __init__(self, variant: Literal["v3", "v3_compact"], anchors: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.trunk = Darknet(*TRUNKS[variant])
        coarse, middle, fine = self.trunk.out_channels[::-1]
        width, pairs = HEADS[variant]
        widths = (width, width // 2, width // 4)
        self.reduce = nn.ModuleList([conv(widths[0], widths[1], 1), conv(widths[1], widths[2], 1)])
        heads = [
            Head(channels, width, pairs, count * outputs)
            for channels, width, count in zip((coarse, middle + widths[1], fine + widths[2]), widths, reversed(anchors), strict=True)
        ]
        for head in heads:
            assert head.predict.bias is not None
            with torch.no_grad():
                # Nearly all places are background: a first objectness of 0.01 (Lin et al. 2017, section 3.3), not of the paper.
                head.predict.bias.view(-1, outputs)[:, 4] = prior_bias()
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> Tensor:
        told: list[Tensor] = []
        above: Tensor | None = None
        for level, (head, features) in enumerate(zip(self.heads, reversed(self.trunk(images)), strict=True)):
            if above is not None:
                above = functional.interpolate(self.reduce[level - 1](above), scale_factor=2.0, mode="nearest")
                features = torch.cat([above, features], dim=1)
            above, answers = head(features)
            told.insert(0, answers.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self.outputs)))
        return torch.cat(told, dim=1)


class Head(nn.Module):
    """The convolutions of one scale: the map for the next finer one [N, width, h, w], and what its anchors tell [N, answers, h, w]."""

    def __init__(self, in_channels: int, width: int, pairs: int, answers: int) -> None:
        super().__init__()
        narrow: list[nn.Module] = [conv(in_channels, width, 1)]
        for _ in range(pairs):
            narrow += [conv(width, 2 * width, 3), conv(2 * width, width, 1)]
        self.narrow = nn.Sequential(*narrow)
        self.widen = conv(width, 2 * width, 3)
        self.predict = nn.Conv2d(2 * width, answers, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.narrow(x)
        return x, self.predict(self.widen(x))
