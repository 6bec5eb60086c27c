"""The classification loss as a setting: what each one counts at which place, and which numbers it takes."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional

from detection_core.nn.assigners import BACKGROUND, IGNORED
from detection_core.nn.classification import SETTINGS, Classification, class_targets, classification_loss, mined
from detection_core.schemas.base import InvalidInput

LABELS = [torch.tensor([2, 0]), torch.zeros(0, dtype=torch.int64)]
GIVEN = torch.tensor([[1, BACKGROUND, IGNORED, 0, BACKGROUND, BACKGROUND], [BACKGROUND] * 5 + [IGNORED]])
QUALITY = torch.tensor([0.75, 0.5])


@pytest.fixture
def logits():
    return 3 * torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))


def loss_of(settings, logits):
    targets = class_targets(GIVEN, LABELS, 3, QUALITY if settings.learns_quality else None)
    return classification_loss(settings, logits, targets, GIVEN)


def test_targets_are_one_or_the_quality_at_the_class_of_each_positives_object():
    plain, quality = class_targets(GIVEN, LABELS, 3), class_targets(GIVEN, LABELS, 3, QUALITY)
    assert plain[0, 0].tolist() == [1, 0, 0] and plain[0, 3].tolist() == [0, 0, 1]
    assert quality[0, 0].tolist() == [0.75, 0, 0] and quality[0, 3].tolist() == [0, 0, 0.5]
    assert plain.sum() == 2 and quality.sum() == 1.25


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_loss_counts_each_positive_and_no_ignored_place(logits, name):
    loss = loss_of(Classification(name), logits)
    assert loss.shape == logits.shape and (loss >= 0).all()
    assert (loss[GIVEN >= 0].sum(dim=1) > 0).all()
    assert (loss[GIVEN == IGNORED] == 0).all()


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"hard_mining"}))
def test_without_mining_all_background_counts(logits, name):
    assert (loss_of(Classification(name), logits)[GIVEN == BACKGROUND] > 0).all()


def test_at_gamma_0_focal_is_cross_entropy_weighted_by_alpha_and_at_alpha_a_half_half_of_it(logits):
    entropy = loss_of(Classification("cross_entropy"), logits)
    targets = class_targets(GIVEN, LABELS, 3)
    torch.testing.assert_close(
        loss_of(Classification("focal", alpha=0.3, gamma=0.0), logits), entropy * (0.3 * targets + 0.7 * (1 - targets))
    )
    torch.testing.assert_close(loss_of(Classification("focal", alpha=0.5, gamma=0.0), logits), entropy / 2)


def test_mining_leaves_the_worst_negatives_of_each_image_and_makes_the_others_zero(logits):
    entropy = loss_of(Classification("cross_entropy"), logits)
    loss = loss_of(Classification("hard_mining", negatives_per_positive=1.0), logits)
    places = entropy[0].sum(dim=1)
    negatives = [1, 4, 5]
    worst = sorted(negatives, key=lambda place: -places[place])
    assert (loss[0, worst[2]] == 0).all()
    assert torch.equal(loss[0, [0, 3, *worst[:2]]], entropy[0, [0, 3, *worst[:2]]])
    assert (loss[1] == 0).all()  # an image without objects has no negatives either


def test_an_ignored_place_takes_no_negatives_turn_however_bad_it_is():
    loss = torch.tensor([[1.0, 100.0, 3.0, 2.0]])
    assert mined(loss, torch.tensor([[0, IGNORED, BACKGROUND, BACKGROUND]]), ratio=1).tolist() == [[1, 0, 3, 0]]
    assert mined(loss, torch.tensor([[0, IGNORED, BACKGROUND, BACKGROUND]]), ratio=9).tolist() == [[1, 0, 3, 2]]


@pytest.mark.parametrize("name", ["quality_focal", "varifocal"])
def test_a_quality_loss_of_a_positive_is_least_where_its_score_is_the_quality(name):
    at = torch.linspace(0.05, 0.95, 91)
    logits = (at / (1 - at)).log()[None, :, None].clone().requires_grad_()
    given = torch.zeros(1, 91, dtype=torch.int64)
    targets = class_targets(given, [torch.tensor([0])], 1, torch.full((91,), 0.6))
    loss = classification_loss(Classification(name), logits, targets, given)
    assert at[loss[0, :, 0].argmin()].item() == pytest.approx(0.6, abs=0.006)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert (slope[0, at < 0.58] < 0).all() and (slope[0, at > 0.62] > 0).all()


def test_the_papers_numbers_are_in_force_until_others_are_given():
    assert Classification("focal").value("alpha") == 0.25 and Classification("varifocal").value("alpha") == 0.75
    assert Classification("quality_focal").value("gamma") == 2 and Classification("hard_mining").value("negatives_per_positive") == 3
    chosen = Classification("focal", gamma=0.0)
    assert (chosen.value("gamma"), chosen.value("alpha")) == (0.0, 0.25)
    assert chosen.given() == {"loss": "focal", "gamma": 0.0}


@pytest.mark.parametrize(
    ("loss", "number", "words"),
    [
        ("cross_entropy", {"alpha": 0.5}, "'cross_entropy' takes no number, not alpha; leave out"),
        ("hard_mining", {"gamma": 1.0}, "'hard_mining' takes negatives_per_positive, not gamma"),
        ("focal", {"negatives_per_positive": 3.0}, "'focal' takes alpha and gamma, not negatives_per_positive"),
        ("quality_focal", {"alpha": 0.5}, "'quality_focal' takes gamma, not alpha"),
    ],
)
def test_a_number_that_a_loss_does_not_take_is_refused_with_those_it_takes(loss, number, words):
    with pytest.raises(InvalidInput, match=words):
        Classification(loss, **number)


def test_a_field_that_no_loss_has_is_not_passed_over():
    with pytest.raises(ValidationError, match="gama"):
        TypeAdapter(Classification).validate_python({"loss": "focal", "gama": 0.5})


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("name", ["focal", "quality_focal", "varifocal"])
def test_scores_that_are_certain_have_a_finite_gradient_also_at_a_gamma_under_1(name, gamma):
    logits = torch.tensor([-200.0, -80, -17, 17, 80, 200])[None, :, None].repeat(1, 2, 1).requires_grad_()
    given = torch.tensor([[0] * 6 + [BACKGROUND] * 6])
    targets = class_targets(given, [torch.tensor([0])], 1, torch.full((6,), 0.8) if name == "varifocal" else None)
    loss = classification_loss(Classification(name, gamma=gamma), logits, targets, given)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all() and torch.isfinite(slope).all()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert (loss <= entropy + 1e-6).all()
