"""Trunks of the first YOLOs: the convolutions of 2016 (Redmon et al., section 2.1) and Darknet-53 (Redmon & Farhadi 2018, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

LEAK = 0.1  # of the leaky rectifier (YOLO, section 2.2, equation 2)
POOL = None  # maximum of 2x2, halves both sides
# Kernel, channels and stride of a convolution, or POOL.
Layer = tuple[int, int, int] | None

# The 24 convolutions of YOLO (figure 3), stride 64.
YOLO_LAYERS: tuple[Layer, ...] = (
    *((7, 64, 2), POOL, (3, 192, 1), POOL),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), POOL),
    *((1, 256, 1), (3, 512, 1)) * 4,
    *((1, 512, 1), (3, 1024, 1), POOL),
    *((1, 512, 1), (3, 1024, 1)) * 2,
    *((3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)
# Fast YOLO has 9 convolutions with fewer filters (section 2.1), of which the paper tells no more. These are ours: eight, and the one that
# tells the boxes is the ninth. Stride 32, so that the grid has 7 cells a side at 224 px, as the paper's has at 448.
FAST_LAYERS: tuple[Layer, ...] = (
    *((3, 16, 1), POOL, (3, 32, 1), POOL, (3, 64, 1), POOL, (3, 128, 1), POOL, (3, 256, 1), POOL),
    *((3, 512, 1), (1, 256, 1), (3, 512, 1)),
)
# Channels of Darknet-53's stem and stages, and the residual blocks of each stage (YOLOv3, table 1).
DARKNET_53 = ((32, 64, 128, 256, 512, 1024), (1, 2, 8, 8, 4))
# The same with half the channels and fewer blocks, none in the two stages whose maps are largest.
DARKNET_COMPACT = ((16, 32, 64, 128, 256, 512), (0, 0, 1, 1, 1))


def conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, norm: bool = True) -> nn.Sequential:
    """Return a convolution that keeps the variance (He et al. 2015), its norm or instead of it a bias, and the leaky rectifier."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=not norm)
    nn.init.kaiming_normal_(layer.weight, a=LEAK)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    norms = [nn.BatchNorm2d(out_channels)] if norm else []
    return nn.Sequential(layer, *norms, nn.LeakyReLU(LEAK, inplace=True))


def plain_trunk(layers: Sequence[Layer], *, norm: bool) -> nn.Sequential:
    """Return the convolutions of a table, one after another: images [N, 3, H, W] to one map."""
    channels = 3
    parts: list[nn.Module] = []
    for layer in layers:
        if layer is POOL:
            parts.append(nn.MaxPool2d(2))
            continue
        kernel, width, stride = layer
        parts.append(conv(channels, width, kernel, stride=stride, norm=norm))
        channels = width
    return nn.Sequential(*parts)


class Residual(nn.Module):
    """Half the channels by a 1x1 convolution, all of them by a 3x3 one, added to what came in (YOLOv3, section 2.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = conv(channels, channels // 2, 1)
        self.widen = conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.widen(self.narrow(x))


class Darknet(nn.Module):
    """Darknet-53 or one built alike: every stage begins with a convolution of stride 2. Returns the maps of strides 8, 16 and 32.

    Args:
        channels: of the stem and of each of five stages.
        blocks: residual blocks of each stage.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = tuple(channels[-3:])
        self.stem = conv(3, channels[0], 3)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, width, 3, stride=2), *(Residual(width) for _ in range(count)))
            for before, width, count in zip(channels[:-1], channels[1:], blocks, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[-3:]
