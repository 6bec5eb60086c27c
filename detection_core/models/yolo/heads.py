"""The head of the anchor-free YOLOs: boxes and classes apart, a box as four distributions around its place.

Decoupled branches: YOLOX, Ge et al. 2021 (arXiv 2107.08430, section 2.1); distributions over distances: Generalized Focal Loss, Li et al.
2020 (section 3.2); the widths of the branches: keras-cv's YOLOv8 (Apache-2.0); the light branch: YOLOv10, Wang et al. 2024 (section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detection_core.models.yolo.blocks import Conv, depthwise
from detection_core.models.yolo.necks import STRIDES
from detection_core.nn.losses import expected_distance, prior_bias
from detection_core.nn.postprocess import Decode
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

BINS = 16  # a side is at most BINS - 1 strides from its place
OUTPUTS = ("box_distributions", "cls_logits")

# A branch from its input's channels, its own and its outputs.
Branch = Callable[[int, int, int], nn.Sequential]


class Raw(NamedTuple):
    """`box_distributions` [N, places, 4 * BINS], logits of left, top, right, bottom; `cls_logits` [N, places, classes]."""

    box_distributions: Tensor
    cls_logits: Tensor


class Head(nn.Module):
    """Two branches for each level; places follow level after level, finest first, row by row.

    Args:
        channels: of the levels.
        classes: how many.
        class_branch: makes the branch of the classes; that of the boxes is always two 3x3 convolutions and a 1x1 one.
    """

    def __init__(self, channels: Sequence[int], classes: int, class_branch: Branch) -> None:
        super().__init__()
        box_hidden, class_hidden = max(4 * BINS, channels[0] // 4), max(channels[0], classes)
        self.boxes = nn.ModuleList(_starting_at(1.0, plain_branch(width, box_hidden, 4 * BINS)) for width in channels)
        self.classes = nn.ModuleList(_starting_at(prior_bias(), class_branch(width, class_hidden, classes)) for width in channels)

    def forward(self, features: list[Tensor]) -> Raw:
        return Raw(_by_place(self.boxes, features), _by_place(self.classes, features))


def plain_branch(in_channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions and a 1x1 one with bias."""
    return nn.Sequential(Conv(in_channels, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, outputs, 1))


def light_branch(in_channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two depthwise separable 3x3 convolutions and a 1x1 one with bias (Wang et al. 2024, section 3.2, lightweight classification head)."""
    first = (depthwise(in_channels), Conv(in_channels, hidden))
    return nn.Sequential(*first, depthwise(hidden), Conv(hidden, hidden), nn.Conv2d(hidden, outputs, 1))


def _starting_at(bias: float, branch: nn.Sequential) -> nn.Sequential:
    last = branch[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.constant_(last.bias, bias)
    return branch


def _by_place(branches: nn.ModuleList, features: list[Tensor]) -> Tensor:
    return torch.cat([branch(level).flatten(2).transpose(1, 2) for branch, level in zip(branches, features, strict=True)], dim=1)


@dataclass(frozen=True, eq=False)
class Grid:
    """The places of an input: `centres` [places, 2] and `strides` [places] in pixels, float32; `level_sizes`, the places of each level."""

    centres: Tensor
    strides: Tensor
    level_sizes: tuple[int, ...]

    def to(self, device: torch.device) -> Grid:
        """Return the same places on another device."""
        return Grid(self.centres.to(device), self.strides.to(device), self.level_sizes)

    def decode(self, distributions: Tensor) -> Tensor:
        """Turn [N, places, 4 * BINS] into boxes [N, places, 4], xyxy in pixels: a side is the mean of its distribution, in strides."""
        return _around(self.centres, self.strides, distributions)

    def read(self, raw: Raw) -> Iterator[tuple[Tensor, Decode]]:
        """Yield the scores [places, classes] of each image, 0..1, and what decodes its places."""
        grid = self.to(raw.cls_logits.device)
        for distributions, logits in zip(*raw, strict=True):
            yield logits.sigmoid(), partial(grid._decode_some, distributions)

    def _decode_some(self, distributions: Tensor, places: Tensor) -> Tensor:
        return _around(self.centres[places], self.strides[places], distributions[places])


def require_whole_cells(name: str, policy: InputPolicy) -> None:
    """Raise InvalidInput for an input that cells of the coarsest level do not fill."""
    if policy.height % STRIDES[-1] or policy.width % STRIDES[-1]:
        raise InvalidInput(f"{name} needs an input whose sides are multiples of {STRIDES[-1]} px; change 'input_size', e.g. to 640")


def grid_of(policy: InputPolicy, strides: Sequence[int] = STRIDES) -> Grid:
    """Return the middles of all cells of these strides, level after level."""
    # Made while detecting, they must still serve a training, for which tensors of inference mode are no good.
    with torch.inference_mode(False):
        levels = [_middles(policy.height // stride, policy.width // stride, stride) for stride in strides]
        centres, of_place = zip(*levels, strict=True)
        return Grid(torch.cat(centres), torch.cat(of_place), tuple(len(level) for level in centres))


def _middles(rows: int, columns: int, stride: int) -> tuple[Tensor, Tensor]:
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = (torch.stack([across, down], dim=2).flatten(0, 1) + 0.5) * stride
    return centres, torch.full((len(centres),), float(stride))


def _around(centres: Tensor, strides: Tensor, distributions: Tensor) -> Tensor:
    distances = expected_distance(distributions.unflatten(-1, (4, BINS))) * strides[:, None]
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)
