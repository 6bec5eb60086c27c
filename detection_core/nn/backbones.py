"""Trunks for the compact detectors: plain-convolution ResNets with narrow pyramids, which learn from scratch on a CPU in minutes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import Conv2dNormActivation

BLOCKS_PER_STAGE: dict[str, list[int]] = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2]}
STAGE_CHANNELS = (64, 128, 256, 512)


def resnet(name: str) -> ResNet:
    """Build a ResNet of basic blocks with random weights (He et al. 2016, section 4.1); `name` is a key of BLOCKS_PER_STAGE."""
    return ResNet(BasicBlock, BLOCKS_PER_STAGE[name])


def resnet_fpn(name: str, *, channels: int = 64) -> BackboneWithFPN:
    """Build a ResNet with a feature pyramid P3 to P6, strides 8 to 64 (Lin et al. 2017, section 3).

    P6 is P5 at every second place and costs nothing. Features of an [N, 3, H, W] input are an ordered dict of
    [N, channels, H / stride, W / stride].
    """
    stages = (2, 3, 4)
    return BackboneWithFPN(
        resnet(name),
        return_layers={f"layer{stage}": str(level) for level, stage in enumerate(stages)},
        in_channels_list=[STAGE_CHANNELS[stage - 1] for stage in stages],
        out_channels=channels,
        norm_layer=nn.BatchNorm2d,
    )


class ResNetScales(nn.Module):
    """A ResNet whose stages are read one by one, with further stages on top: strides 8, 16, 32, 64, 128 (SSD, section 2.1).

    A 3x3 convolution brings each scale to `channels`, so that the wide stages do not make the heads heavy.
    """

    def __init__(self, name: str, *, channels: int = 128) -> None:
        super().__init__()
        trunk = resnet(name)
        self.stem = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool, trunk.layer1)
        self.stages = nn.ModuleList([trunk.layer2, trunk.layer3, trunk.layer4])
        self.lateral = nn.ModuleList([Conv2dNormActivation(width, channels) for width in STAGE_CHANNELS[1:]])
        self.extra = nn.ModuleList([Conv2dNormActivation(channels, channels, stride=2) for _ in range(2)])
        self.out_channels = [channels] * (len(self.lateral) + len(self.extra))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scales: list[Tensor] = []
        x = self.stem(x)
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            scales.append(lateral(x))
        for block in self.extra:
            scales.append(block(scales[-1]))
        return OrderedDict((str(level), scale) for level, scale in enumerate(scales))
