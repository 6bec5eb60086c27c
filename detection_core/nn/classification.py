"""The classification loss of a dense detector as one setting of its recipe: which loss, with which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from detection_core.nn.assigners import IGNORED
from detection_core.nn.losses import focal_loss, hard_negatives, one_hot, quality_focal_loss, varifocal_loss
from detection_core.schemas.base import InvalidInput

LossName = Literal["focal", "cross_entropy", "hard_mining", "quality_focal", "varifocal"]
# What each loss can be told, with the numbers of its own paper (sections in `nn/losses.py`; quality focal calls its gamma beta).
SETTINGS: dict[str, dict[str, float]] = {
    "focal": {"alpha": 0.25, "gamma": 2.0},
    "cross_entropy": {},
    "hard_mining": {"negatives_per_positive": 3.0},
    "quality_focal": {"gamma": 2.0},
    "varifocal": {"alpha": 0.75, "gamma": 2.0},
}


@dataclass(frozen=True)
class Classification:
    """A classification loss; what is None has the number of the loss's own paper (`SETTINGS`).

    `focal` (Lin et al. 2017), `cross_entropy` over all places, `hard_mining` (cross-entropy over the positives and the worst negatives,
    Liu et al. 2016), `quality_focal` (Li et al. 2020) and `varifocal` (Zhang et al. 2021), whose scores are trained towards the IoU of the
    place's own box. `alpha` weighs what is there (in varifocal loss what is not), `gamma` is how fast easy examples fade,
    `negatives_per_positive` how many negatives of an image are trained.

    Raises:
        InvalidInput: a number that this loss does not take.
    """

    loss: LossName
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    gamma: Annotated[float, Field(ge=0, le=10)] | None = None
    negatives_per_positive: Annotated[float, Field(gt=0, le=1000)] | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if foreign := sorted(self.given().keys() - SETTINGS[self.loss].keys() - {"loss"}):
            taken = " and ".join(SETTINGS[self.loss]) or "no number"
            raise InvalidInput(f"the loss '{self.loss}' takes {taken}, not {' and '.join(foreign)}; leave out what it does not take")

    @property
    def learns_quality(self) -> bool:
        """Say whether a positive is trained towards the IoU of its box instead of 1."""
        return self.loss in ("quality_focal", "varifocal")

    def given(self) -> dict[str, Any]:
        """Return what is not None, as a recipe's `model_options` and a manifest's `options` hold it."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def value(self, name: str) -> float:
        """Return a number in force: the one given, or the paper's."""
        given = getattr(self, name)
        return SETTINGS[self.loss][name] if given is None else float(given)


FOCAL = Classification("focal")
HARD_MINING = Classification("hard_mining")
CROSS_ENTROPY = Classification("cross_entropy")


def class_targets(given: Tensor, labels: Sequence[Tensor], classes: int, quality: Tensor | None = None) -> Tensor:
    """Return what the scores of a batch are trained towards, [images, places, classes], 0..1.

    Args:
        given: int64 [images, places], as the assigners answer.
        labels: of the objects of each image, 0-based.
        classes: how many there are.
        quality: [positives], in the order of `given`, what stands at a positive's class in place of 1.
    """
    targets = torch.stack([one_hot(one, own, classes) for one, own in zip(given, labels, strict=True)])
    if quality is not None:
        positive = given >= 0
        targets[positive] = targets[positive] * quality[:, None]
    return targets


def classification_loss(settings: Classification, logits: Tensor, targets: Tensor, given: Tensor) -> Tensor:
    """Return the loss of every element, [images, places, classes]: 0 at ignored places and at negatives that mining leaves out.

    Args:
        settings: which loss, with which numbers.
        logits: [images, places, classes].
        targets: of the same shape, as `class_targets` makes them.
        given: int64 [images, places], as the assigners answer.
    """
    if settings.loss == "focal":
        loss = focal_loss(logits, targets, alpha=settings.value("alpha"), gamma=settings.value("gamma"))
    elif settings.loss == "quality_focal":
        loss = quality_focal_loss(logits, targets, beta=settings.value("gamma"))
    elif settings.loss == "varifocal":
        loss = varifocal_loss(logits, targets, alpha=settings.value("alpha"), gamma=settings.value("gamma"))
    else:
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if settings.loss == "hard_mining":
        return mined(loss, given, ratio=settings.value("negatives_per_positive"))
    return torch.where((given != IGNORED)[..., None], loss, 0.0)


def mined(loss: Tensor, given: Tensor, *, ratio: float) -> Tensor:
    """Return a loss with 0 at all negatives but the worst of each image (SSD, Liu et al. 2016, section 2.2).

    Args:
        loss: [images, places] or [images, places, classes].
        given: int64 [images, places], as the assigners answer; ignored places are 0 too.
        ratio: how many negatives stay for each positive of the same image.
    """
    positive, counted = given >= 0, given != IGNORED
    per_place = loss.detach().sum(dim=2) if loss.ndim == 3 else loss.detach()
    # Ignored places rank last, so that they take no negative's turn.
    worst = hard_negatives(torch.where(counted, per_place, float("-inf")), positive, ratio=ratio)
    trained = positive | (worst & counted)
    return torch.where(trained[..., None] if loss.ndim == 3 else trained, loss, 0.0)
