"""The trunk of the anchor-free YOLOs, and how their sizes are told (Terven et al. 2023, arXiv 2304.00501, section on YOLOv8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

# Channels of strides 4, 8, 16, 32 and depths of their stages before a size scales them.
STAGE_CHANNELS = (128, 256, 512, 1024)
STAGE_DEPTHS = (3, 6, 6, 3)
NECK_DEPTH = 3


@dataclass(frozen=True)
class Size:
    """A network's size: all depths and channels are multiples of the same plan, whose channels are first cut to `most_channels`."""

    depth: float
    width: float
    most_channels: int

    def channels(self) -> tuple[int, ...]:
        """Return the channels of strides 4, 8, 16, 32."""
        return tuple(int(min(channels, self.most_channels) * self.width) for channels in STAGE_CHANNELS)

    def blocks(self, depth: int) -> int:
        """Return how many blocks a stage of `depth` has, at least one."""
        return max(1, round(depth * self.depth))


class Trunk(nn.Module):
    """Four stages after a stem, each of half the size: images [N, 3, H, W] to features of strides 8, 16 and 32."""

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)

    def keep_last_stride(self) -> None:
        """Take the halving out of the last stage, so that its features have stride 16; pooling behind it sees far all the same."""
        for part in self.stages[-1].modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, scales = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            scales.append(x)
        return scales[1:]
