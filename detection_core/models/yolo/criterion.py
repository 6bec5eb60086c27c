"""What the anchor-free YOLOs are trained on: task-aligned places, their quality as the score, CIoU and distributions for the box.

Assignment: TOOD, Feng et al. 2021 (section 3.3); distributions: Generalized Focal Loss, Li et al. 2020 (section 3.2); CIoU: Zheng et al.
2020. Which of them YOLOv8 takes is told by Terven et al. 2023 (section on YOLOv8); the weights are those of YOLOv10's appendix (Wang et al.
2024, table of hyper-parameters), which are YOLOv8's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detection_core.models.adapter import Loss, Target
from detection_core.models.yolo.heads import BINS, Grid, Raw
from detection_core.nn.assigners import task_aligned
from detection_core.nn.balance import balance_of
from detection_core.nn.classification import Classification, classification_loss
from detection_core.nn.losses import box_loss, distribution_focal_loss, one_hot

BOX_WEIGHT, CLASS_WEIGHT, DISTRIBUTION_WEIGHT = 7.5, 0.5, 1.5
ALPHA, BETA = 0.5, 6.0


def aligned_loss(raw: Raw, grid: Grid, targets: Sequence[Target], *, topk: int, classification: Classification) -> Loss:
    """Return the loss of a head, parts `class`, `box` and `distribution`.

    Each object is learnt by the `topk` places inside it that align best. A place is trained towards the score that task alignment gives
    it, and its box counts as much as that score; everything is divided by the sum of these scores, at least 1. An object in which no
    place lies, such as one under 8 px between four of them, is learnt by nobody.

    Args:
        raw: of a batch, with gradient.
        grid: the places, on the device of `raw`.
        targets: one an image.
        topk: 10 for one-to-many, 1 for one-to-one assignment.
        classification: what is summed over places and classes.
    """
    distributions, logits = raw.box_distributions.float(), raw.cls_logits.float()
    boxes = grid.decode(distributions)
    given, quality = _assign(logits.detach().sigmoid(), boxes.detach(), grid, targets, topk=topk)
    positive = given >= 0
    chosen = [target["boxes"][one[one >= 0]] for one, target in zip(given, targets, strict=True)]
    objects, weight = torch.cat(chosen), quality[positive]
    total = quality.sum().clamp(min=1)

    labels = torch.stack([one_hot(one, target["labels"], logits.shape[2]) for one, target in zip(given, targets, strict=True)])
    per_class = classification_loss(classification, logits, labels * quality[..., None], given)
    overlap = box_loss(boxes[positive], objects, kind="ciou")
    spread = _distribution_loss(distributions[positive], positive.nonzero()[:, 1], objects, grid)
    parts = {
        "class": CLASS_WEIGHT * per_class.sum() / total,
        "box": BOX_WEIGHT * (overlap * weight).sum() / total,
        "distribution": DISTRIBUTION_WEIGHT * (spread * weight).sum() / total,
    }
    return Loss(parts, balance_of(per_class, given, grid.level_sizes))


def _assign(scores: Tensor, boxes: Tensor, grid: Grid, targets: Sequence[Target], *, topk: int) -> tuple[Tensor, Tensor]:
    """Return the object of each place, int64 [N, places], and its quality [N, places]."""
    aligned = [
        task_aligned(*image, grid.centres, target["boxes"], target["labels"], topk=topk, alpha=ALPHA, beta=BETA)
        for image, target in zip(zip(scores, boxes, strict=True), targets, strict=True)
    ]
    return torch.stack([one.given for one in aligned]), torch.stack([one.quality for one in aligned])


def _distribution_loss(distributions: Tensor, places: Tensor, objects: Tensor, grid: Grid) -> Tensor:
    """Return the mean over the four sides, [m], of positives with their `distributions` [m, 4 * BINS], `places` [m], `objects` [m, 4]."""
    centres, strides = grid.centres[places], grid.strides[places, None]
    distances = torch.cat([centres - objects[:, :2], objects[:, 2:] - centres], dim=1) / strides
    return distribution_focal_loss(distributions.reshape(-1, BINS), distances.flatten()).view(-1, 4).mean(dim=1)
