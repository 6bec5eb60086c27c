"""Losses against torchvision's kernels, against cross-entropy, and on cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from detection_core.nn.losses import (
    box_loss,
    distribution_focal_loss,
    expected_distance,
    focal_loss,
    hard_negatives,
    normalised,
    one_hot,
    paired_iou,
    prior_bias,
    quality_focal_loss,
    varifocal_loss,
)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(50, 4, generator=generator) < 0.1).double()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [0.25, 0.75])
def test_focal_loss_is_torchvisions(case, alpha, gamma):
    torch.testing.assert_close(focal_loss(*case, alpha=alpha, gamma=gamma), sigmoid_focal_loss(*case, alpha=alpha, gamma=gamma))


def test_at_gamma_0_focal_loss_is_cross_entropy_weighted_by_alpha(case):
    logits, targets = case
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(focal_loss(logits, targets, alpha=None, gamma=0), entropy)
    torch.testing.assert_close(focal_loss(logits, targets, alpha=0.25, gamma=0), entropy * torch.where(targets == 1, 0.25, 0.75))


def of_probability(p_t, *, gamma):
    logit = torch.tensor([math.log(p_t / (1 - p_t))], dtype=torch.float64)
    return focal_loss(logit, torch.ones(1, dtype=torch.float64), alpha=None, gamma=gamma).item()


def test_with_gamma_2_an_example_at_half_counts_164_times_one_at_nine_tenths():
    assert of_probability(0.5, gamma=2) / of_probability(0.9, gamma=2) == pytest.approx(164.5, abs=0.05)
    assert of_probability(0.5, gamma=0) / of_probability(0.9, gamma=0) == pytest.approx(6.58, abs=0.005)


def test_focal_loss_of_large_logits_is_finite_with_a_finite_gradient():
    logits = torch.tensor([[-1e4, 1e4, 80.0, -80.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()


def test_a_layer_with_the_prior_bias_starts_at_the_prior():
    assert torch.tensor(prior_bias(0.01)).sigmoid().item() == pytest.approx(0.01)


def test_the_sum_is_normalised_by_positives_and_by_one_where_there_are_none():
    loss = torch.ones(6)
    assert normalised(loss, torch.arange(6) < 3).item() == 2 and normalised(loss, torch.zeros(6, dtype=torch.bool)).item() == 6


def test_targets_of_an_assignment_are_one_at_the_class_of_its_object():
    targets = one_hot(torch.tensor([1, -1, 0, -2]), torch.tensor([2, 0]), 3)
    assert targets.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_hard_negatives_are_the_worst_three_for_every_positive_of_their_own_image():
    loss = torch.tensor([[9.0, 0.1, 0.5, 0.4, 0.3, 0.2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    positive = torch.zeros(3, 6, dtype=torch.bool)
    positive[0, 0] = positive[2, 1] = positive[2, 4] = True
    chosen = hard_negatives(loss, positive, ratio=3)
    assert chosen[0].tolist() == [False, False, True, True, True, False]
    assert not chosen[1].any(), "an image without objects brings no negatives, as in SSD"
    assert chosen[2].tolist() == [True, False, True, True, False, True], "there are no more than there are"


def test_quality_focal_loss_is_zero_at_the_quality_and_by_hand_elsewhere():
    quality = torch.tensor([0.3, 0.8])
    assert quality_focal_loss(quality.logit(), quality).abs().max() < 1e-6
    found = quality_focal_loss(torch.zeros(1), torch.tensor([1.0]))
    assert found.item() == pytest.approx(0.25 * math.log(2))


def test_varifocal_loss_fades_the_background_only():
    logits = torch.tensor([0.0, 0.0])
    positive, negative = varifocal_loss(logits, torch.tensor([0.8, 0.0])).tolist()
    assert positive == pytest.approx(0.8 * math.log(2)) and negative == pytest.approx(0.75 * 0.25 * math.log(2))


def test_distribution_focal_loss_is_least_where_the_mean_is_the_target():
    target = torch.tensor([2.25])
    best = torch.log(torch.tensor([[1e-9, 1e-9, 0.75, 0.25, 1e-9]]))
    assert expected_distance(best).item() == pytest.approx(2.25, abs=1e-5)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert distribution_focal_loss(best, target).item() == pytest.approx(entropy, abs=1e-5)
    assert distribution_focal_loss(torch.zeros(1, 5), target).item() == pytest.approx(math.log(5))
    assert distribution_focal_loss(best, target + 0.5) > distribution_focal_loss(best, target)


def test_a_distance_beyond_the_last_bin_is_trained_towards_it():
    logits = torch.randn(1, 5)
    torch.testing.assert_close(distribution_focal_loss(logits, torch.tensor([9.0])), -logits.log_softmax(1)[:, -1])


BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
OTHERS = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])


def test_iou_by_hand():
    assert paired_iou(BOXES, OTHERS).tolist() == pytest.approx([1, 1 / 3, 0])


@pytest.mark.parametrize(("kind", "apart"), [("iou", 1.0), ("giou", 1 + 1 / 3), ("diou", 1 + 400 / 1000), ("ciou", 1 + 400 / 1000)])
def test_box_losses_by_hand(kind, apart):
    loss = box_loss(BOXES, OTHERS, kind=kind)
    assert loss[0].item() == pytest.approx(0, abs=1e-6)
    assert loss[2].item() == pytest.approx(apart, abs=1e-4)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_boxes_that_lie_apart_are_still_drawn_together(kind):
    boxes = BOXES[2:].clone().requires_grad_()
    box_loss(boxes, OTHERS[2:], kind=kind).sum().backward()
    assert boxes.grad[0, 2] < 0, "a larger right side comes nearer"
