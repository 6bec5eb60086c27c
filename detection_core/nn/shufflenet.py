"""ShuffleNetV2, the trunk of FastestDet (Ma et al. 2018, ShuffleNet V2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM_CHANNELS = 24
STAGE_CHANNELS = (48, 96, 192)
STAGE_BLOCKS = (4, 8, 4)


class ShuffleNet(nn.Module):
    """ShuffleNetV2 (Ma et al. 2018) with narrow stages: features of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(3, STEM_CHANNELS, 3, stride=2, relu=True))
        widths = (STEM_CHANNELS, *STAGE_CHANNELS[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(ShuffleDown(width, out), *(ShuffleBlock(out) for _ in range(blocks - 1)))
            for width, out, blocks in zip(widths, STAGE_CHANNELS, STAGE_BLOCKS, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        scales = []
        for stage in self.stages:
            x = stage(x)
            scales.append(x)
        return scales


class ShuffleBlock(nn.Module):
    """A unit of stride 1 (Ma et al. 2018, figure 3c): every second channel passes untouched, the others go through the branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch_main = _branch(channels // 2, channels // 2, channels // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], dim=1)


class ShuffleDown(nn.Module):
    """A unit of stride 2 (Ma et al. 2018, figure 3d): both branches see all channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch_main = _branch(in_channels, out_channels // 2, out_channels - in_channels, stride=2)
        self.branch_proj = nn.Sequential(
            *conv(in_channels, in_channels, 3, stride=2, depthwise=True), *conv(in_channels, in_channels, 1, relu=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch_proj(x), self.branch_main(x)], dim=1)


def _branch(in_channels: int, middle: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *conv(in_channels, middle, 1, relu=True),
        *conv(middle, middle, 3, stride=stride, depthwise=True),
        *conv(middle, out_channels, 1, relu=True),
    )


def conv(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, depthwise: bool = False, relu: bool = False
) -> list[nn.Module]:
    """A convolution without bias that keeps the variance (He et al. 2015), its norm, and with `relu` the rectifier."""
    groups = in_channels if depthwise else 1
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if relu else "linear")
    norm = nn.BatchNorm2d(out_channels)
    return [layer, norm, nn.ReLU(inplace=True)] if relu else [layer, norm]
