"""FastestDet: one stage, one grid of stride 16, a quarter of a million parameters (dog-qiuqiu, github.com/dog-qiuqiu/FastestDet, 2022).

There is no paper: the network and the decode follow the facts of the project's own page and files, which are under BSD-3-Clause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou, complete_box_iou_loss

from detection_core.models.adapter import Loss, RawOutputs, Target, split_decay
from detection_core.nn.assigners import BACKGROUND
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import Classification, classification_loss
from detection_core.nn.losses import normalised, prior_bias
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.nn.shufflenet import STAGE_CHANNELS, ShuffleNet, conv
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

STRIDE = 16
# The coarsest stage has stride 32 and is laid over the grid of stride 16 twice as large.
SIDE_MULTIPLE = 32
# Score of a class at a cell: objectness ** 0.6 * class ** 0.4, as in the project's ONNX example.
OBJECTNESS_POWER, CLASS_POWER = 0.6, 0.4
# Weights of the parts of the loss, and of background in the objectness, as in the project's training.
BOX_WEIGHT, OBJECTNESS_WEIGHT, CLASS_WEIGHT = 8.0, 16.0, 1.0
BACKGROUND_SHARE = 0.75
# Upstream names of the .pth -> ours, by their beginning.
UPSTREAM_NAMES = {
    "backbone.first_conv.": "backbone.stem.",
    "backbone.stage2.": "backbone.stages.0.",
    "backbone.stage3.": "backbone.stages.1.",
    "backbone.stage4.": "backbone.stages.2.",
    "SPP.Conv1x1.conv1x1.": "neck.reduce.",
    "SPP.S1.": "neck.branches.0.",
    "SPP.S2.": "neck.branches.1.",
    "SPP.S3.": "neck.branches.2.",
    "SPP.output.": "neck.merge.",
    "detect_head.conv1x1.conv1x1.": "head.stem.",
    "detect_head.obj_layers.conv5x5.": "head.objectness.",
    "detect_head.reg_layers.conv5x5.": "head.box.",
    "detect_head.cls_layers.conv5x5.": "head.classes.",
}


@dataclass(frozen=True)
class FastestDetAdapter:
    """FastestDet: ShuffleNetV2 trunk, three scales on one grid, light heads.

    Raw output: `predictions` [N, 5 + classes, H / 16, W / 16], as in the project's own ONNX file: objectness 0..1, the box as four free
    numbers tx, ty, tw, th, the classes as probabilities that sum to 1. The centre of the box of a cell is
    (column + tanh(tx), row + tanh(ty)) in cells, its size (sigmoid(tw), sigmoid(th)) in parts of the input.

    `classification` takes the place of the project's own loss of the objectness, the one score in which object and background meet.
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    classification: Classification | None = None

    output_names: ClassVar[tuple[str, ...]] = ("predictions",)
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.input.height % SIDE_MULTIPLE or self.input.width % SIDE_MULTIPLE:
            raise InvalidInput(
                f"{self.name} needs an input whose sides are multiples of {SIDE_MULTIPLE} px; change 'input_size', e.g. to 352"
            )

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def build(self) -> FastestDet:
        model = FastestDet(len(self.classes))
        if self.classification is not None:
            *_, bias = model.head.objectness.parameters()  # of the last norm
            nn.init.constant_(bias, prior_bias())
        return model

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        logits, boxes, class_logits = (part.float() for part in model(images))  # [N, 1, h, w], [N, 4, h, w], [N, C, h, w]
        decoded = self._decode(boxes)  # [N, h, w, 4]
        assigned = [assign(decoded[image].detach(), target["boxes"], stride=STRIDE) for image, target in enumerate(targets)]
        image = torch.cat([torch.full_like(cells, number) for number, (cells, _) in enumerate(assigned)])
        cells = torch.cat([cells for cells, _ in assigned])
        wanted = torch.cat([target["boxes"][objects] for target, (_, objects) in zip(targets, assigned, strict=True)])
        labels = torch.cat([target["labels"][objects] for target, (_, objects) in zip(targets, assigned, strict=True)])
        found = decoded.flatten(1, 2)[image, cells]  # [positives, 4]
        overlap = box_iou(found.detach(), wanted).diagonal() if len(cells) else found.new_zeros(0)
        positives = max(len(cells), 1)
        given = torch.full_like(logits.flatten(1), BACKGROUND, dtype=torch.int64)  # [N, cells]
        given[image, cells] = torch.cat([objects for _, objects in assigned])
        if self.classification is None:
            scores = objectness_loss(logits.flatten(1).sigmoid(), image, cells, overlap)
            objectness = OBJECTNESS_WEIGHT * scores.mean()
        else:
            reached = torch.zeros_like(given, dtype=overlap.dtype)
            reached[image, cells] = overlap
            scores = chosen_loss(self.classification, logits.flatten(1), given, reached)
            objectness = normalised(scores, given >= 0)
        parts = {
            "box": BOX_WEIGHT * complete_box_iou_loss(found, wanted, reduction="sum") / positives,
            "objectness": objectness,
            "class": CLASS_WEIGHT
            * functional.cross_entropy(class_logits.flatten(2).transpose(1, 2)[image, cells], labels, reduction="sum")
            / positives,
        }
        return Loss(parts, balance_of(scores, given, [given.shape[1]]))

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        logits, boxes, class_logits = model(images)
        return (torch.cat([logits.sigmoid(), boxes, class_logits.softmax(dim=1)], dim=1),)

    def export_module(self, model: nn.Module) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(predictions) for predictions in raw[0]), self.input, **limits)

    def _read(self, predictions: Tensor) -> tuple[Tensor, Decode]:
        objectness, boxes, classes = predictions.split([1, 4, len(self.classes)])
        scores = objectness**OBJECTNESS_POWER * classes**CLASS_POWER  # [C, h, w]
        return scores.flatten(1).T, self._decode(boxes[None])[0].flatten(0, 1).__getitem__

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _decode(self, boxes: Tensor) -> Tensor:
        """Turn [N, 4, h, w] free numbers into [N, h, w, 4] xyxy in network-input pixels."""
        rows, columns = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) for side in boxes.shape[-2:])
        tx, ty, tw, th = boxes.unbind(dim=1)
        x, y = (columns[None, :] + tx.tanh()) * STRIDE, (rows[:, None] + ty.tanh()) * STRIDE
        half_width, half_height = tw.sigmoid() * (self.input.width / 2), th.sigmoid() * (self.input.height / 2)
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


def assign(decoded: Tensor, boxes: Tensor, *, stride: int) -> tuple[Tensor, Tensor]:
    """Say which cells of one image are to find which object.

    The four cells whose corners lie around the centre of an object can reach it (tanh moves a centre by up to one cell). Of them
    those stay whose box now overlaps the object at least as well as the four do on average, so that each object keeps one or more.
    The project keeps what is above the average of all objects of the batch, which can leave an object without any cell.
    A cell that two objects want goes to the smaller one, as in FCOS (Tian et al. 2019, section 3.1).

    Args:
        decoded: [h, w, 4], what the cells find now, xyxy in input pixels.
        boxes: [n, 4], the objects.

    Returns:
        Flat numbers of cells [m], each once, and for each the index of its object [m].
    """
    height, width = decoded.shape[:2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
    corners = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=boxes.device)
    places = centres.floor().to(torch.int64)[:, None] + corners  # [n, 4, 2] column, row
    inside = (places >= 0).all(dim=2) & (places[..., 0] < width) & (places[..., 1] < height)
    cells = (places[..., 1] * width + places[..., 0]).where(inside, torch.zeros_like(places[..., 0]))
    overlap = box_iou(decoded.flatten(0, 1)[cells.flatten()], boxes).view(*cells.shape, len(boxes))  # [n, 4, n]
    own = overlap.diagonal(dim1=0, dim2=2).T.where(inside, torch.zeros_like(cells, dtype=overlap.dtype))  # [n, 4]
    mean = own.sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True).clamp(min=1)
    kept = inside & (own >= mean - 1e-6)
    objects, corner = kept.nonzero(as_tuple=True)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    # The smallest object comes last and so has the last word on a cell.
    order = area[objects].argsort(descending=True, stable=True)
    owner = dict(zip(cells[objects, corner][order].tolist(), objects[order].tolist(), strict=True))
    taken = torch.tensor([*owner.items()], dtype=torch.int64, device=boxes.device).reshape(-1, 2)
    return taken[:, 0], taken[:, 1]


def objectness_loss(objectness: Tensor, image: Tensor, cells: Tensor, overlap: Tensor) -> Tensor:
    """Compare the objectness of each cell with the overlap that its box reaches, 0 for background, by smooth L1; [N, cells].

    In the mean of each image the positives count together as a quarter and the cells as three quarters, however many positives there are.

    Args:
        objectness: [N, cells], 0..1.
        image, cells: [m], which of them are positives.
        overlap: [m], IoU of their boxes with their objects.
    """
    wanted = torch.zeros_like(objectness)
    wanted[image, cells] = overlap
    per_cell = functional.smooth_l1_loss(objectness, wanted, reduction="none")
    weight = torch.full_like(objectness, BACKGROUND_SHARE)
    positives = torch.bincount(image, minlength=len(objectness)).clamp(min=1)
    weight[image, cells] = (1 - BACKGROUND_SHARE) * objectness.shape[1] / positives[image]
    return per_cell * weight


def chosen_loss(settings: Classification, logits: Tensor, given: Tensor, overlap: Tensor) -> Tensor:
    """Return a recipe's loss of the objectness of each cell, [N, cells, 1]; "object" is its one class.

    Args:
        settings: which loss, with which numbers.
        logits: [N, cells], of the objectness.
        given: int64 [N, cells], as the assigners answer.
        overlap: [N, cells], IoU of the positives' boxes with their objects, 0 elsewhere.
    """
    wanted = overlap if settings.learns_quality else (given >= 0).to(overlap)
    return classification_loss(settings, logits[..., None], wanted[..., None], given)


def from_upstream(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of the project's .pth our names; a name that is not the project's stays."""
    return {_our_name(name): tensor for name, tensor in tensors.items()}


def _our_name(name: str) -> str:
    for theirs, ours in UPSTREAM_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


class FastestDet(nn.Module):
    """The network: images [N, 3, H, W] to logits of objectness [N, 1, h, w], boxes [N, 4, h, w] and logits of classes [N, C, h, w]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = STAGE_CHANNELS[1]
        self.backbone = ShuffleNet()
        self.neck = Neck(sum(STAGE_CHANNELS), channels)
        self.head = Head(channels, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.backbone(images)
        fine = functional.avg_pool2d(fine, 3, stride=2, padding=1)
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return self.head(self.neck(torch.cat([fine, middle, coarse], dim=1)))


class Neck(nn.Module):
    """One, two and three depthwise 5x5 convolutions side by side over the three scales, with a shortcut around them."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*conv(in_channels, channels, 1, relu=True))
        self.branches = nn.ModuleList(
            nn.Sequential(*(part for _ in range(depth) for part in conv(channels, channels, 5, depthwise=True, relu=True)))
            for depth in (1, 2, 3)
        )
        self.merge = nn.Sequential(*conv(3 * channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return functional.relu(x + self.merge(torch.cat([branch(x) for branch in self.branches], dim=1)))


class Head(nn.Module):
    """A shared 1x1 convolution, then a depthwise branch each for objectness, box and classes."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(channels, channels, 1, relu=True))
        self.objectness, self.box, self.classes = (
            nn.Sequential(*conv(channels, channels, 5, depthwise=True, relu=True), *conv(channels, outputs, 1))
            for outputs in (1, 4, num_classes)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(x)
        return self.objectness(x), self.box(x), self.classes(x)
