"""An exponential moving average of weights: what is evaluated and saved for use."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """Averages the weights of a model, and its running statistics with them.

    The decay after update t is min(decay, (1 + t) / (10 + t)), so that a short training is not held back by its random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards `model` after training step `step`, counted from 1."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for average, current in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(current, weight)
            else:
                average.copy_(current)
