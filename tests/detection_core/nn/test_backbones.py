"""Shapes of the compact trunks."""

from __future__ import annotations

import pytest
import torch

from detection_core.nn.backbones import ResNetScales, resnet_fpn


@pytest.mark.parametrize("name", ["resnet10", "resnet18"])
def test_the_pyramid_has_four_narrow_levels_of_stride_8_to_64(name):
    with torch.device("meta"):
        features = resnet_fpn(name).eval()(torch.zeros(2, 3, 128, 192))
    assert [tuple(level.shape) for level in features.values()] == [(2, 64, 128 // stride, 192 // stride) for stride in (8, 16, 32, 64)]


def test_the_scales_of_ssd_go_on_to_stride_128_and_down_to_one_place():
    with torch.device("meta"):
        trunk = ResNetScales("resnet10").eval()
        features = trunk(torch.zeros(1, 3, 128, 128))
        tiny = trunk(torch.zeros(1, 3, 64, 64))
    assert [level.shape[-1] for level in features.values()] == [16, 8, 4, 2, 1]
    assert [level.shape[1] for level in features.values()] == trunk.out_channels
    assert [level.shape[-1] for level in tiny.values()] == [8, 4, 2, 1, 1]
