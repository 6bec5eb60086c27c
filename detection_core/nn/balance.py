"""How foreground and background share the classification loss of a dense detector: the imbalance that focal loss and mining fight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

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

    def __add__(self, other: Balance) -> Balance:
        """Return the sums over the images of both."""
        return Balance(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def figures(self) -> dict[str, float]:
        """Return named numbers: for each level, the finest 0, its positives and negatives and what part of the whole loss each brought.

        The shares of all levels add up to 1, or are 0 where there was no loss at all.
        """
        whole = float(self.positive_loss.sum() + self.negative_loss.sum())
        found: dict[str, float] = {}
        for level in range(len(self.positives)):
            found[f"positives_{level}"] = float(self.positives[level])
            found[f"negatives_{level}"] = float(self.negatives[level])
            found[f"positive_share_{level}"] = float(self.positive_loss[level]) / whole if whole else 0.0
            found[f"negative_share_{level}"] = float(self.negative_loss[level]) / whole if whole else 0.0
        return found


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
