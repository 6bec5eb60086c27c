"""Trunks for the compact detectors: plain-convolution ResNets, which learn from scratch on a CPU in minutes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import Conv2dNormActivation

BLOCKS_PER_STAGE: dict[str, list[int]] = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2]}
STAGE_CHANNELS = (64, 128, 256, 512)


def resnet(name: str) -> ResNet:
    """Build a ResNet of basic blocks with random weights (He et al. 2016, section 4.1); `name` is a key of BLOCKS_PER_STAGE."""
    return ResNet(BasicBlock, BLOCKS_PER_STAGE[name])


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
