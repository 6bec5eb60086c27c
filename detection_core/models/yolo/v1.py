"""YOLOv1: one stage, one grid; the cell that holds the middle of an object finds it (Redmon et al. 2016, arXiv 1506.02640)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from detection_core.models.adapter import Loss, RawOutputs, Target, split_decay
from detection_core.models.yolo.darknet import FAST_LAYERS, LEAK, YOLO_LAYERS, plain_trunk
from detection_core.nn.assigners import BACKGROUND, Grid, holding_cells, smallest_wins
from detection_core.nn.balance import balance_of
from detection_core.nn.losses import paired_iou
from detection_core.nn.postprocess import Decode, Detections, Limits, select_batch
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

STRIDES = {"v1": 64, "v1_compact": 32}
BOXES = 2  # that each cell tells (section 2)
NUMBERS = 5  # of each: x, y, root of the width, root of the height, confidence
HIDDEN = 4096  # of the first fully connected layer (figure 3)
# In the beginning the boxes of a cell lie in its middle and have these parts of the image's sides, as roots: were they alike, the first
# would be responsible for everything.
FIRST_ROOTS = (0.35, 0.65)
FIRST_STD = 1e-3  # of the last weights: what a cell tells first is near that, whatever the image


@dataclass(frozen=True)
class YoloV1Adapter:
    """YOLO of 2016: 24 convolutions and two fully connected layers at 448 px (`v1`), or compact (`v1_compact`).

    The grid has a cell for every 64 pixels of the input, 7 a side at 448 px; the fully connected layers belong to one input size. The
    compact one differs from the paper: nine convolutions as Fast YOLO, with batch normalisation, which the paper does not have; a 1x1
    convolution over the grid in place of the fully connected layers, which would hold most of the weights and need many images to learn
    what a shared convolution knows from the start, that a thing looks alike in every cell; a cell for every 32 pixels.

    Raw output: `predictions` [N, cells, 10 + classes], free numbers, cells row by row: for each of two boxes x and y of the middle in
    parts of the cell, the roots of width and height in parts of the input, the confidence; then one set of class probabilities for
    both (section 2). Score of a class: its probability times the confidence (equation 1), each drawn into 0..1 first, for the last layer
    is linear (section 2.2).

    The network tells the *root* of a size, and the size is its square: so it is never negative and no root of a negative number is taken.
    Of two objects in one cell only one can be learnt, which the paper does not name: here the smaller one, as in FCOS. `lambda_coord`
    and `lambda_noobj` weigh boxes and background in the loss (section 2.2).
    """

    name: str
    classes: tuple[str, ...]
    input: InputPolicy
    variant: Literal["v1", "v1_compact"]
    lambda_coord: Annotated[float, Field(gt=0, le=1000)] = 5.0
    lambda_noobj: Annotated[float, Field(gt=0, le=1000)] = 0.5

    output_names: ClassVar[tuple[str, ...]] = ("predictions",)
    nms_in_graph: ClassVar[bool] = False

    def __post_init__(self) -> None:
        stride = STRIDES[self.variant]
        if self.input.height % stride or self.input.width % stride:
            raise InvalidInput(
                f"{self.name} needs an input whose sides are multiples of {stride} px; change 'input_size', e.g. to {7 * stride}"
            )

    @property
    def options(self) -> dict[str, Any]:
        return {"variant": self.variant}

    def build(self) -> YoloV1:
        return YoloV1(self.variant, self._grid, BOXES * NUMBERS + len(self.classes))

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        predictions = model(images).float()
        boxes = predictions[..., : BOXES * NUMBERS].unflatten(-1, (BOXES, NUMBERS))  # [N, cells, boxes, 5]
        given = torch.stack([self.assign(target["boxes"]) for target in targets])  # [N, cells]
        image, cell = (given >= 0).nonzero(as_tuple=True)  # [m]
        objects = torch.cat([target["boxes"][one[one >= 0]] for one, target in zip(given, targets, strict=True)])
        labels = torch.cat([target["labels"][one[one >= 0]] for one, target in zip(given, targets, strict=True)])
        overlap = self._overlap(boxes[image, cell].detach(), cell, objects)  # [m, boxes]
        best, responsible = overlap.max(dim=1)
        told, wanted = boxes[image, cell, responsible], self._encode(objects, cell)  # [m, 5], [m, 4]
        likely = torch.zeros_like(boxes[..., 4])
        likely[image, cell, responsible] = best
        place = torch.full_like(likely, BACKGROUND, dtype=torch.int64)
        place[image, cell, responsible] = given[image, cell]
        confidence = (boxes[..., 4] - likely) ** 2 * torch.where(place >= 0, 1.0, self.lambda_noobj)
        classes = functional.one_hot(labels, len(self.classes)) - predictions[image, cell, BOXES * NUMBERS :]
        parts = {
            "centre": self.lambda_coord * ((told[:, :2] - wanted[:, :2]) ** 2).sum(),
            "size": self.lambda_coord * ((told[:, 2:4] - wanted[:, 2:]) ** 2).sum(),
            "confidence": confidence.sum(),
            "classification": (classes**2).sum(),
        }
        # The paper's sums are those of an image.
        per_image = {name: part / len(targets) for name, part in parts.items()}
        return Loss(per_image, balance_of(confidence.flatten(1), place.flatten(1), [self._grid.count * BOXES]))

    def assign(self, objects: Tensor) -> Tensor:
        """Return the object of each cell, int64 [cells]: the one whose middle it holds, of several the smallest."""
        return smallest_wins(holding_cells(objects, self._grid), objects, self._grid.count)

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        return (model(images),)

    def export_module(self, model: nn.Module) -> nn.Module:
        return RawOutputs(self, model).eval()

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self._read(predictions) for predictions in raw[0]), self.input, **limits)

    def _read(self, predictions: Tensor) -> tuple[Tensor, Decode]:
        boxes = predictions[:, : BOXES * NUMBERS].unflatten(-1, (BOXES, NUMBERS))  # [cells, boxes, 5]
        classes = predictions[:, BOXES * NUMBERS :].clamp(0, 1)
        scores = boxes[..., 4:].clamp(0, 1) * classes[:, None]  # [cells, boxes, C]
        cells = torch.arange(len(boxes), device=boxes.device)
        return scores.flatten(0, 1), self._decode(boxes, cells).flatten(0, 1).__getitem__

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self.forward(model, images)

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return split_decay(model, lr, weight_decay)

    def _overlap(self, boxes: Tensor, cell: Tensor, objects: Tensor) -> Tensor:
        """Return the IoU of the boxes [m, boxes, 5] of some cells [m] with the object of each, [m, boxes]."""
        found = self._decode(boxes, cell)
        return paired_iou(found.flatten(0, 1), objects.repeat_interleave(BOXES, dim=0)).view(len(cell), BOXES)

    def _decode(self, boxes: Tensor, cell: Tensor) -> Tensor:
        """Turn the numbers [m, boxes, 5] of some cells [m] into [m, boxes, 4], xyxy in network-input pixels."""
        x = (boxes[..., 0] + (cell % self._grid.columns)[:, None]) * self._grid.width
        y = (boxes[..., 1] + (cell // self._grid.columns)[:, None]) * self._grid.height
        half_width, half_height = boxes[..., 2] ** 2 * (self.input.width / 2), boxes[..., 3] ** 2 * (self.input.height / 2)
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)

    def _encode(self, objects: Tensor, cell: Tensor) -> Tensor:
        """Turn objects [m, 4] into what their cells [m] are to tell: x, y, root of width, root of height, [m, 4]."""
        middle = (objects[:, :2] + objects[:, 2:]) / 2
        x = middle[:, 0] / self._grid.width - cell % self._grid.columns
        y = middle[:, 1] / self._grid.height - cell // self._grid.columns
        sides = (objects[:, 2:] - objects[:, :2]) / objects.new_tensor([self.input.width, self.input.height])
        return torch.cat([torch.stack([x, y], dim=1), sides.clamp(min=0).sqrt()], dim=1)

    @cached_property
    def _grid(self) -> Grid:
        stride = STRIDES[self.variant]
        return Grid(self.input.height // stride, self.input.width // stride, float(stride), float(stride))


class YoloV1(nn.Module):
    """The network: images [N, 3, H, W] to what each cell tells, [N, cells, outputs] (figures 2 and 3)."""

    def __init__(self, variant: Literal["v1", "v1_compact"], grid: Grid, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        if variant == "v1":
            self.trunk = plain_trunk(YOLO_LAYERS, norm=False)
            hidden = nn.Linear(grid.count * 1024, HIDDEN)
            nn.init.kaiming_normal_(hidden.weight, a=LEAK)
            nn.init.zeros_(hidden.bias)
            last: nn.Linear | nn.Conv2d = nn.Linear(HIDDEN, grid.count * outputs)
            # Dropout after the first connected layer (section 2.2).
            self.head = nn.Sequential(nn.Flatten(), hidden, nn.LeakyReLU(LEAK, inplace=True), nn.Dropout(0.5))
        else:
            self.trunk = plain_trunk(FAST_LAYERS, norm=True)
            last = nn.Conv2d(512, outputs, 1)
            self.head = nn.Sequential()
        self.predict = last
        nn.init.normal_(last.weight, std=FIRST_STD)
        first = torch.zeros(outputs)
        for box, root in enumerate(FIRST_ROOTS):
            first[box * NUMBERS : box * NUMBERS + 4] = torch.tensor([0.5, 0.5, root, root])
        with torch.no_grad():
            last.bias.view(-1, outputs).copy_(first)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        told = self.predict(self.head(self.trunk(images)))
        if told.ndim == 4:
            return told.permute(0, 2, 3, 1).flatten(1, 2)
        return told.unflatten(1, (-1, self.outputs))
