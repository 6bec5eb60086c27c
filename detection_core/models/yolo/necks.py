"""Necks of the anchor-free YOLOs: their own is a path down to the finest level and one up again (PANet, Liu et al. 2018, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_core.catalogue.specs import Neck

STRIDES = (8, 16, 32)
SINGLE_STRIDES = (16,)


class PanNeck(nn.Module):
    """Features of strides 8, 16, 32 to features of the same strides and channels, each of which has seen all three.

    What is merged is concatenated, not added. `down_4` and `down_3` go towards the finest level: they take stride 16 with 32, then stride
    8 with 16. `half_3`, `up_4` and `half_4`, `up_5` go back: they halve a level and take it with the next.
    """

    def __init__(
        self, *, down_4: nn.Module, down_3: nn.Module, half_3: nn.Module, up_4: nn.Module, half_4: nn.Module, up_5: nn.Module
    ) -> None:
        super().__init__()
        self.down_4, self.down_3 = down_4, down_3
        self.half_3, self.up_4 = half_3, up_4
        self.half_4, self.up_5 = half_4, up_5

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = _down(features, self.down_4, self.down_3)
        middle = self.up_4(torch.cat([self.half_3(fine), middle], dim=1))
        coarse = self.up_5(torch.cat([self.half_4(middle), coarse], dim=1))
        return [fine, middle, coarse]


class TopDownNeck(nn.Module):
    """The path towards the finest level alone (Lin et al. 2017, Feature Pyramid Networks, section 3), with the blocks of a PanNeck."""

    def __init__(self, own: PanNeck) -> None:
        super().__init__()
        self.down_4, self.down_3 = own.down_4, own.down_3

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return _down(features, self.down_4, self.down_3)


class LastScale(nn.Module):
    """The last scale of a trunk and nothing else."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return features[-1:]


def neck_of(kind: Neck, own: PanNeck) -> nn.Module:
    """Return a neck: `pan` is a network's own, `fpn` its path down, `multi` the trunk's scales as they are, `single` the last one."""
    return {"pan": own, "fpn": TopDownNeck(own), "multi": nn.Identity(), "single": LastScale()}[kind]


def strides_of(kind: Neck) -> tuple[int, ...]:
    """Return the strides of the levels of a neck; that of `single` stands on a trunk whose last stage does not halve."""
    return SINGLE_STRIDES if kind == "single" else STRIDES


def _down(features: list[Tensor], down_4: nn.Module, down_3: nn.Module) -> list[Tensor]:
    fine, middle, coarse = features
    middle = down_4(torch.cat([_twice(coarse), middle], dim=1))
    return [down_3(torch.cat([_twice(middle), fine], dim=1)), middle, coarse]


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
