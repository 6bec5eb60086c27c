"""Necks of the compact detectors: how the scales of a trunk become the maps that the heads read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

from detection_core.catalogue.specs import Neck
from detection_core.nn.backbones import STAGE_CHANNELS, resnet


class NeckedResNet(nn.Module):
    """A compact ResNet under a neck.

    - `single`: one map of stride 16 out of the last stage, which does not halve.
    - `multi`: each scale by itself, with the layers of `fpn` and without its top-down path.
    - `fpn`: a top-down path brings what the coarse scales know to the fine ones (Lin et al. 2017, Feature Pyramid Networks, section 3).
    - `pan`: `fpn`, then a path back up (Liu et al. 2018, Path Aggregation Network, section 3.1).

    All but `single` have the strides 8, 16 and 32, and one more for each of `further`. Features of an [N, 3, H, W] input are an ordered
    dict of [N, channels, H / stride, W / stride], the finest first.

    Args:
        name: of the trunk, a key of BLOCKS_PER_STAGE.
        neck: which.
        channels: of every map.
        further: halving layers, [N, channels, h, w] to [N, channels, h / 2, w / 2], one on top of the other; `single` takes none.
    """

    def __init__(self, name: str, neck: Neck, *, channels: int = 64, further: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        trunk = resnet(name)
        stages = (4,) if neck == "single" else (2, 3, 4)
        if neck == "single":
            keep_stride(trunk.layer4)
        self.body = IntermediateLayerGetter(trunk, {f"layer{stage}": str(level) for level, stage in enumerate(stages)})
        pyramid = FeaturePyramidNetwork if neck in ("fpn", "pan") else SeparateScales
        self.fpn = pyramid([STAGE_CHANNELS[stage - 1] for stage in stages], channels, norm_layer=nn.BatchNorm2d)
        self.bottom_up = BottomUp(channels, len(stages)) if neck == "pan" else nn.Identity()
        self.further = nn.ModuleList([] if neck == "single" else further)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scales = self.bottom_up(list(self.fpn(self.body(images)).values()))
        for block in self.further:
            scales.append(block(scales[-1]))
        return OrderedDict((str(level), scale) for level, scale in enumerate(scales))


class SeparateScales(FeaturePyramidNetwork):
    """The layers of a feature pyramid without its top-down path (Lin et al. 2017, Feature Pyramid Networks, section 5.1, table 1d)."""

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        layers = zip(x.items(), self.inner_blocks, self.layer_blocks, strict=True)
        return OrderedDict((name, smooth(lateral(scale))) for (name, scale), lateral, smooth in layers)


class BottomUp(nn.Module):
    """The path back up: each map is halved, joined with the next coarser one of the pyramid and smoothed (Liu et al. 2018, section 3.1).

    Args:
        channels: of every map; the paper has 256 and, as here, a rectifier behind each convolution.
        levels: how many maps there are.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.halve = nn.ModuleList([Conv2dNormActivation(channels, channels, stride=2) for _ in range(levels - 1)])
        self.smooth = nn.ModuleList([Conv2dNormActivation(channels, channels) for _ in range(levels - 1)])

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        scales = pyramid[:1]
        for level, halve, smooth in zip(pyramid[1:], self.halve, self.smooth, strict=True):
            scales.append(smooth(halve(scales[-1]) + level))
        return scales


def keep_stride(stage: nn.Module) -> None:
    """Take the halving out of a stage of basic blocks, which sees as far as before by holes in its 3x3 convolutions.

    R-FCN (Dai et al. 2016, section 2).
    """
    for part in stage.modules():
        if not isinstance(part, nn.Conv2d):
            continue
        # What halved reads the map that it always read; what came behind it reads one of twice the resolution.
        if part.kernel_size == (3, 3) and part.stride == (1, 1):
            part.dilation, part.padding = (2, 2), (2, 2)
        part.stride = (1, 1)
