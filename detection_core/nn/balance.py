"""How foreground and background share the classification loss of a dense detector: the imbalance that focal loss and mining fight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detection_core.nn.assigners import IGNORED


@dataclass(frozen=True)
class Balance:
    """Counts of places and sums of their classification loss on each level, over the images of a batch; each float64 [levels].

    Ignored places are in neither. Negatives that mining leaves out are counted, with a loss of 0.
    """

    positives: Tensor
    negatives: Tensor
    positive_loss: Tensor
    negative_loss: Tensor


def balance_of(loss: Tensor, given: Tensor, level_sizes: Sequence[int]) -> Balance:
    """Add up what every place brings to the classification loss.

    Args:
        loss: [images, places] or [images, places, classes].
        given: int64 [images, places], as the assigners answer.
        level_sizes: how many places each level has, in order.
    """
    per_place = loss.detach().double()
    per_place = per_place.sum(dim=2) if per_place.ndim == 3 else per_place
    positive, negative = (given >= 0), (given < 0) & (given != IGNORED)

    def per_level(values: Tensor) -> Tensor:
        return torch.stack([level.sum() for level in values.split(list(level_sizes), dim=1)]).cpu()

    zero = per_place.new_zeros(())
    return Balance(
        positives=per_level(positive.double()),
        negatives=per_level(negative.double()),
        positive_loss=per_level(torch.where(positive, per_place, zero)),
        negative_loss=per_level(torch.where(negative, per_place, zero)),
    )
