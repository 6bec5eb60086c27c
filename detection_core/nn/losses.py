"""Losses of dense detectors, free of any one of them: classification under imbalance, quality, distributions, boxes.

Classification losses are element by element, so that whoever sums them can also say how much of the sum the easy background holds. Logits
and targets have one shape, `[..., classes]`; targets are 0..1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

BoxLoss = Literal["iou", "giou", "diou", "ciou"]


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """Return alpha_t (1 - p_t)^gamma times the cross-entropy of every element (Lin et al. 2017, equation 5).

    With gamma 0 it is cross-entropy weighted by alpha; with alpha None and gamma 0 plain cross-entropy.

    Args:
        logits: [..., classes].
        targets: of the same shape, 1 where the class is there, else 0.
        alpha: weight of what is there; 1 - alpha is that of what is not. None: both count 1.
        gamma: how fast easy examples fade, 0 or more.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma:
        # 1 - p_t, where a sum and not a difference keeps the digits of small ones.
        entropy = entropy * _power(logits.sigmoid() * (1 - targets) + (-logits).sigmoid() * targets, gamma)
    return entropy if alpha is None else entropy * (alpha * targets + (1 - alpha) * (1 - targets))


def prior_bias(prior: float = 0.01) -> float:
    """Return the bias of a classification layer under which every place starts with the score `prior` (Lin et al. 2017, section 3.3)."""
    return -math.log((1 - prior) / prior)


def normalised(loss: Tensor, positive: Tensor) -> Tensor:
    """Return the sum of a loss over the number of true entries of `positive`, at least 1 (Lin et al. 2017, section 4.1)."""
    return loss.sum() / positive.sum().clamp(min=1)


def one_hot(given: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the classification targets [places, classes] of an assignment [places]: 1 at the class of the object of each positive."""
    targets = torch.zeros(len(given), classes, device=given.device)
    positive = given >= 0
    targets[positive, labels[given[positive]]] = 1.0
    return targets


def hard_negatives(loss: Tensor, positive: Tensor, *, ratio: float = 3.0) -> Tensor:
    """Choose in each image the negatives of the largest loss, `ratio` times as many as positives (SSD, Liu et al. 2016, section 2.2).

    Args:
        loss: [images, places], of each place whatever it is.
        positive: bool [images, places].

    Returns:
        bool [images, places]; none of an image without positives.
    """
    ranked = torch.where(positive, loss.new_full((), -math.inf), loss).argsort(dim=1, descending=True, stable=True)
    rank = ranked.argsort(dim=1)
    return (rank < ratio * positive.sum(dim=1, keepdim=True)) & ~positive


def quality_focal_loss(logits: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Return |y - p|^beta times the cross-entropy against a quality y in 0..1 (Generalized Focal Loss, Li et al. 2020, equation 5)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return _power((quality - logits.sigmoid()).abs(), beta) * entropy


def varifocal_loss(logits: Tensor, quality: Tensor, *, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Return cross-entropy weighted by the quality y where y > 0, by alpha p^gamma where it is 0 (Zhang et al. 2021, equation 2).

    Only the background is made to fade: of the rare positives none is given away.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return torch.where(quality > 0, quality, alpha * _power(logits.sigmoid(), gamma)) * entropy


def centreness_of(distances: Tensor) -> Tensor:
    """Return how central points lie in their objects, 0..1: 1 in the middle (FCOS, Tian et al. 2019, equation 3).

    Args:
        distances: [n, 4], to the left, top, right and bottom side, in any unit.
    """
    across, down = distances[:, [0, 2]], distances[:, [1, 3]]
    return ((across.amin(dim=1) / across.amax(dim=1)) * (down.amin(dim=1) / down.amax(dim=1))).sqrt()


def distribution_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of the two bins around each target, weighted by nearness (Li et al. 2020, equation 6).

    Args:
        logits: [n, bins], of the distances 0, 1, ..., bins - 1.
        target: [n], distances in bins; those beyond the last bin are drawn back to it.

    Returns:
        [n].
    """
    last = logits.shape[-1] - 1
    target = target.clamp(0, last)
    left = target.floor().clamp(max=last - 1).long()
    share = target - left
    near = functional.cross_entropy(logits, left, reduction="none")
    far = functional.cross_entropy(logits, left + 1, reduction="none")
    return near * (1 - share) + far * share


def expected_distance(logits: Tensor) -> Tensor:
    """Return the mean of the distribution over the distances 0, 1, ..., [..., bins] to [...] (Li et al. 2020, equation 4)."""
    return logits.softmax(dim=-1) @ torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of boxes [n, 4] and others [n, 4], row by row, xyxy; [n]."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(one[:, 2:] - one[:, :2]).clamp(min=0).prod(dim=1) for one in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=torch.finfo(boxes.dtype).eps)


def box_loss(boxes: Tensor, targets: Tensor, *, kind: BoxLoss = "giou") -> Tensor:
    """Return 1 minus the IoU of each pair, or minus what stands in its place; boxes [n, 4] xyxy, [n].

    giou: Rezatofighi et al. 2019; diou and ciou: Zheng et al. 2020. These three are torchvision's.
    """
    if kind == "iou":
        return 1 - paired_iou(boxes, targets)
    return {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}[kind](boxes, targets)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return `base ** exponent` of a base in 0..1; at 0 an exponent under 1 would have an infinite slope."""
    return base.clamp(min=torch.finfo(base.dtype).tiny) ** exponent
