"""Shapes of the compact trunks and of the necks over them, and what each neck lets through from scale to scale."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from detection_core.catalogue.specs import Neck
from detection_core.nn.backbones import STAGE_CHANNELS, ResNetScales, resnet
from detection_core.nn.necks import NeckedResNet

STRIDES = {"single": (16,), "multi": (8, 16, 32, 64), "fpn": (8, 16, 32, 64), "pan": (8, 16, 32, 64)}


def necked(neck, *, name="resnet10", channels=64):
    return NeckedResNet(name, neck, channels=channels, further=[nn.MaxPool2d(1, stride=2)])


@pytest.mark.parametrize("name", ["resnet10", "resnet18"])
@pytest.mark.parametrize("neck", get_args(Neck))
def test_a_neck_has_maps_of_one_width_at_its_strides(neck, name):
    with torch.device("meta"):
        backbone = necked(neck, name=name, channels=96).eval()
        features = backbone(torch.zeros(2, 3, 128, 192))
        odd = backbone(torch.zeros(1, 3, 100, 260))
    assert [tuple(level.shape) for level in features.values()] == [(2, 96, 128 // stride, 192 // stride) for stride in STRIDES[neck]]
    assert [tuple(level.shape[-2:]) for level in odd.values()] == [(-(-100 // stride), -(-260 // stride)) for stride in STRIDES[neck]]


def test_the_fpn_is_torchvisions():
    torch.manual_seed(0)
    ours = necked("fpn").eval()
    torch.manual_seed(0)
    layers = {f"layer{stage}": str(level) for level, stage in enumerate((2, 3, 4))}
    theirs = BackboneWithFPN(resnet("resnet10"), layers, list(STAGE_CHANNELS[1:]), 64, norm_layer=nn.BatchNorm2d).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(ours(images).values(), theirs(images).values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def reached(neck):
    """For each map, which stages' outputs (strides 8, 16, 32) change it: a set of their numbers."""
    torch.manual_seed(0)
    backbone = necked(neck).eval()
    body, images = backbone.body, torch.randn(1, 3, 64, 64)
    scales = {name: value.detach().requires_grad_() for name, value in body(images).items()}
    backbone.body = nn.Identity()
    found = []
    for level in backbone(scales).values():
        slopes = torch.autograd.grad(level.square().sum(), list(scales.values()), allow_unused=True, retain_graph=True)
        found.append({place for place, slope in enumerate(slopes) if slope is not None and slope.abs().max() > 0})
    return found


def test_each_neck_lets_scales_into_one_another_as_its_paper_says():
    assert reached("multi") == [{0}, {1}, {2}, {2}]
    assert reached("fpn") == [{0, 1, 2}, {1, 2}, {2}, {2}]
    assert reached("pan") == [{0, 1, 2}] * 4
    assert reached("single") == [{0}]


def test_multi_is_the_pyramid_without_its_top_down_path_in_the_same_layers():
    assert necked("multi").state_dict().keys() == necked("fpn").state_dict().keys()


def test_the_last_stage_of_the_single_map_sees_as_far_as_the_one_that_halves():
    """With positive weights what an output sees of the input is where its gradient is."""
    spans = []
    for neck in ("single", "fpn"):
        torch.manual_seed(0)
        body = necked(neck).body.eval()
        for part in body.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.constant_(part.weight, 1e-3)
        images = torch.rand(1, 3, 512, 512).requires_grad_()
        last = list(body(images).values())[-1]
        middle = last.shape[-1] // 2
        (slope,) = torch.autograd.grad(last[0, 0, middle, middle], images)
        columns = slope.abs().sum(dim=(0, 1, 2)).nonzero().squeeze(1)
        spans.append(int(columns.max() - columns.min()))
    assert spans[0] == spans[1] > 150


def test_the_scales_of_ssd_go_on_to_stride_128_and_down_to_one_place():
    with torch.device("meta"):
        trunk = ResNetScales("resnet10").eval()
        features = trunk(torch.zeros(1, 3, 128, 128))
        tiny = trunk(torch.zeros(1, 3, 64, 64))
    assert [level.shape[-1] for level in features.values()] == [16, 8, 4, 2, 1]
    assert [level.shape[1] for level in features.values()] == trunk.out_channels
    assert [level.shape[-1] for level in tiny.values()] == [8, 4, 2, 1, 1]
