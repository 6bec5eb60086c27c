"""The losses that dense families are trained with, against torchvision's own at its settings, and what their options change."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou

from detection_core.build import build_adapter

CLASSES = ("crop", "weed", "stone")
DETECTORS = (
    "retinanet_resnet10_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet10_fpn",
    "fcos_resnet50_fpn",
    "ssd_resnet10",
    "ssdlite320_mobilenet_v3_large",
)
SIDE = 160


def case(name, **options):
    """An adapter, its network in train mode, and two images with objects of all sizes and one without."""
    adapter = build_adapter(name, classes=CLASSES, input_size=SIDE, options=options)
    torch.manual_seed(0)
    model = adapter.build().train()
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(2, 7, 2, generator=generator) * 80
    sides = torch.tensor([6.0, 12, 20, 32, 48, 64, 78])[:, None] * (0.7 + 0.6 * torch.rand(2, 7, 2, generator=generator))
    boxes = torch.cat([corners, corners + sides], dim=2)
    targets = [{"boxes": image, "labels": torch.randint(0, 3, (7,), generator=generator)} for image in boxes]
    targets.insert(1, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)})
    return adapter, model, torch.randn(3, 3, SIDE, SIDE, generator=generator), targets


def torchvisions(adapter, model, images, targets):
    """The loss of the same network as torchvision counts it; None stands for what its version needs besides."""
    outputs = dict(zip(adapter.output_names, adapter.forward(model, images), strict=True))
    anchors = [adapter._anchors] * len(targets)
    if adapter.name.startswith("retinanet"):
        model.head.regression_head._loss_type = "l1" if adapter.variant == "resnet50_fpn" else "giou"
        return model.compute_loss(targets, outputs, anchors)
    if adapter.name.startswith("fcos"):
        return model.compute_loss(targets, outputs, anchors, adapter._places_per_level)
    shifted = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
    nothing = torch.full((len(adapter._anchors),), -1, dtype=torch.int64)
    matches = [
        model.proposal_matcher(box_iou(target["boxes"], adapter._anchors)) if len(target["boxes"]) else nothing for target in targets
    ]
    return model.compute_loss(shifted, outputs, anchors, matches)


@pytest.mark.parametrize("name", DETECTORS)
def test_at_its_settings_the_loss_is_torchvisions(name):
    adapter, model, images, targets = case(name)
    model.eval()  # both from one forward pass each: norms must not move in between
    with torch.no_grad():
        ours, theirs = adapter.loss(model, images, targets).parts, torchvisions(adapter, model, images, targets)
    assert ours.keys() == theirs.keys()
    for part, value in theirs.items():
        assert value.item() > 0
        torch.testing.assert_close(ours[part], value, rtol=1e-5, atol=1e-6)


def classification(name, **settings):
    adapter, model, images, targets = case(name, **({"classification": settings} if settings else {}))
    model.eval()
    with torch.no_grad():
        return adapter.loss(model, images, targets).parts["classification"].item()


@pytest.mark.parametrize("name", ["retinanet_resnet10_fpn", "fcos_resnet10_fpn"])
def test_a_larger_gamma_leaves_less_of_the_loss_and_alpha_shares_it_between_objects_and_background(name):
    low, half, high = (classification(name, loss="focal", gamma=0.0, alpha=alpha) for alpha in (0.25, 0.5, 0.75))
    assert classification(name, loss="focal", gamma=5.0) < classification(name) < low
    assert low + high == pytest.approx(2 * half, rel=1e-5) and abs(low - high) > 0.1


def test_more_negatives_for_each_positive_make_a_larger_loss():
    assert classification("ssd_resnet10", loss="hard_mining", negatives_per_positive=10.0) > classification("ssd_resnet10")


@pytest.mark.parametrize("name", DETECTORS)
def test_a_batch_without_objects_has_a_finite_loss_that_teaches_the_background_or_nothing(name):
    adapter, model, images, targets = case(name)
    losses = adapter.loss(model, images[:2], targets[1:2] * 2).parts
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    assert losses["bbox_regression"].item() == 0
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
    # SSD takes three negatives for each positive, so an image without objects teaches it nothing (section 2.2).
    assert (losses["classification"].item() > 0) is not name.startswith("ssd")
