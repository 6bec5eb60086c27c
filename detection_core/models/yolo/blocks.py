"""Blocks of the anchor-free YOLOs: convolutions with norm, the CSP block with many branches, pooling, and what YOLOv10 puts in their place.

C2f and SPPF are described in Terven et al. 2023 (arXiv 2304.00501, section on YOLOv8) and in keras-cv's YOLOv8 (Apache-2.0); CIB, the
decoupled downsampling and partial self-attention in YOLOv10, Wang et al. 2024 (arXiv 2405.14458, section 3.2). Features are [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

NORM_EPSILON = 1e-3
# YOLOs are published with 0.03, under which the running statistics lag behind a training of a few hundred steps: its detections are then
# nothing in eval mode, although its loss is low. With torch's 0.1 they keep up, and a long training is the same.
NORM_MOMENTUM = 0.1
EXPANSION = 2  # of the inverted block and of the feed-forward part of attention (Wang et al. 2024, appendix on implementation)
LARGE_KERNEL = 7
HEAD_CHANNELS = 64  # of the values of one attention head


class Conv(nn.Sequential):
    """A convolution without bias, its norm, and SiLU unless `act` is False; padded so that stride 1 keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(out_channels, eps=NORM_EPSILON, momentum=NORM_MOMENTUM)
        super().__init__(conv, norm, *([nn.SiLU(inplace=True)] if act else []))


def depthwise(channels: int, kernel: int = 3, *, stride: int = 1, act: bool = True) -> Conv:
    """Return a convolution of each channel by itself."""
    return Conv(channels, channels, kernel, stride=stride, groups=channels, act=act)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a shortcut around them where `shortcut` says so."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(Conv(channels, channels, 3), Conv(channels, channels, 3))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x) if self.shortcut else self.convs(x)


class C2f(nn.Module):
    """Split the channels in two, send one half through `depth` blocks, and merge both halves with what each block gave.

    `block` makes one inner block for a number of channels: a Bottleneck in YOLOv8, a CompactBlock in some stages of YOLOv10.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.split = Conv(in_channels, 2 * hidden)
        self.blocks = nn.ModuleList(block(hidden) for _ in range(depth))
        self.merge = Conv((2 + depth) * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.merge(torch.cat(parts, dim=1))


class SpatialPool(nn.Module):
    """Largest values of windows of 5, 9 and 13, as three pools of 5 in a row (SPPF; the idea is He et al. 2014, arXiv 1406.4729)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels // 2)
        self.merge = Conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, stride=1, padding=2))
        return self.merge(torch.cat(parts, dim=1))


class LargeKernel(nn.Module):
    """A depthwise 7x7 convolution that is trained with a 3x3 one beside it (Wang et al. 2024, section 3.2, large-kernel convolution).

    The small one makes the large one learn (Ding et al. 2022, arXiv 2203.06717, section 3); `merged` is both in one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.large = depthwise(channels, LARGE_KERNEL, act=False)
        self.small = depthwise(channels, 3, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.large(x) + self.small(x))

    def merged(self) -> nn.Sequential:
        """Return one convolution with bias and its SiLU that answer as this block does in eval mode."""
        (kernel, bias), (small_kernel, small_bias) = _folded(self.large), _folded(self.small)
        channels, margin = len(kernel), (LARGE_KERNEL - 3) // 2
        conv = nn.Conv2d(channels, channels, LARGE_KERNEL, padding=LARGE_KERNEL // 2, groups=channels)
        conv.weight = nn.Parameter(kernel + functional.pad(small_kernel, [margin] * 4))
        conv.bias = nn.Parameter(bias + small_bias)
        return nn.Sequential(conv, nn.SiLU(inplace=True))


def _folded(block: Conv) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution with its norm folded in."""
    conv, norm = block[0], block[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        return fuse_conv_bn_weights(conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)


class CompactBlock(nn.Module):
    """The compact inverted block, CIB: depthwise convolutions see space, pointwise ones mix channels (Wang et al. 2024, figure 3b).

    With `large_kernel` the middle one is 7x7, which pays in small networks.
    """

    def __init__(self, channels: int, *, large_kernel: bool) -> None:
        super().__init__()
        wide = EXPANSION * channels
        middle = LargeKernel(wide) if large_kernel else depthwise(wide)
        self.convs = nn.Sequential(depthwise(channels), Conv(channels, wide), middle, Conv(wide, channels), depthwise(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)


class DecoupledDown(nn.Sequential):
    """Half the size: a pointwise convolution changes the channels, then a depthwise one strides (Wang et al. 2024, section 3.2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(Conv(in_channels, out_channels), depthwise(out_channels, stride=2, act=False))


class Attention(nn.Module):
    """Attention of every place to every place; queries and keys have half as many channels as values (Wang et al. 2024, section 3.2).

    The paper tells no number of heads; here values have about HEAD_CHANNELS in each. There is no encoding of positions: what comes in
    knows its place from the padding of the convolutions before.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_CHANNELS)
        self.value_channels = channels // self.heads
        self.key_channels = self.value_channels // 2
        self.project = Conv(channels, self.heads * (2 * self.key_channels + self.value_channels), act=False)
        self.merge = Conv(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        per_head = self.project(x).view(batch, self.heads, -1, height * width)
        query, key, value = per_head.split([self.key_channels, self.key_channels, self.value_channels], dim=2)
        weights = (query.transpose(2, 3) @ key * self.key_channels**-0.5).softmax(dim=3)  # [N, heads, places that ask, places asked]
        return self.merge((value @ weights.transpose(2, 3)).view(batch, channels, height, width))


class PartialAttention(nn.Module):
    """Partial self-attention, PSA: half of the channels goes through attention and a feed-forward part (Wang et al. 2024, figure 3c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.split = Conv(channels, 2 * half)
        self.attention = Attention(half)
        self.feed_forward = nn.Sequential(Conv(half, EXPANSION * half), Conv(EXPANSION * half, half, act=False))
        self.merge = Conv(2 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        kept, seen = self.split(x).chunk(2, dim=1)
        seen = seen + self.attention(seen)
        seen = seen + self.feed_forward(seen)
        return self.merge(torch.cat([kept, seen], dim=1))
