"""Who brings how much of the classification loss: counted by hand."""

from __future__ import annotations

import torch

from detection_core.nn.assigners import BACKGROUND, IGNORED
from detection_core.nn.balance import balance_of


def test_positives_and_negatives_of_each_level_are_counted_and_their_loss_added_up():
    given = torch.tensor([[0, BACKGROUND, IGNORED, BACKGROUND, 1], [BACKGROUND, BACKGROUND, 0, 0, BACKGROUND]])
    loss = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0], [32.0, 64.0, 128.0, 256.0, 512.0]])
    balance = balance_of(loss, given, [3, 2])
    assert balance.positives.tolist() == [2, 2]
    assert balance.negatives.tolist() == [3, 2]
    assert balance.positive_loss.tolist() == [1 + 128, 16 + 256]
    assert balance.negative_loss.tolist() == [2 + 32 + 64, 8 + 512]


def test_the_loss_of_a_place_is_that_of_all_its_classes():
    loss = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]], requires_grad=True)
    balance = balance_of(loss, torch.tensor([[0, BACKGROUND]]), [2])
    assert (balance.positive_loss.item(), balance.negative_loss.item()) == (3.0, 12.0)
    assert not balance.positive_loss.requires_grad


def test_batches_are_added_up_and_the_shares_are_those_of_the_whole_loss():
    given = torch.tensor([[0, BACKGROUND, BACKGROUND]])
    first = balance_of(torch.tensor([[1.0, 2.0, 3.0]]), given, [2, 1])
    second = balance_of(torch.tensor([[1.0, 0.0, 1.0]]), given, [2, 1])
    assert (first + second).figures() == {
        "positives_0": 2.0, "negatives_0": 2.0, "positive_share_0": 2 / 8, "negative_share_0": 2 / 8,
        "positives_1": 0.0, "negatives_1": 2.0, "positive_share_1": 0.0, "negative_share_1": 4 / 8,
    }  # fmt: skip


def test_where_there_is_no_loss_nobody_has_a_share():
    figures = balance_of(torch.zeros(1, 2), torch.tensor([[0, BACKGROUND]]), [2]).figures()
    assert figures == {"positives_0": 1.0, "negatives_0": 1.0, "positive_share_0": 0.0, "negative_share_0": 0.0}
