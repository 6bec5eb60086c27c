"""Decode and non-maximum suppression: the one place where raw outputs become boxes, for every dense family and every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from detection_core.schemas.manifest import InputPolicy


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first: `boxes` [n, 4] xyxy in network-input pixels, `scores` [n] 0..1, `labels` [n] 0-based."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Limits(TypedDict):
    """Which detections stay: above which score, under which IoU with a better one, how many before and after NMS."""

    score_thresh: float
    nms_thresh: float
    max_det: int
    pre_nms_topk: int


# Turns indices of places [k] into boxes [k, 4], xyxy, network-input pixels.
Decode = Callable[[Tensor], Tensor]


def select_batch(
    images: Iterable[tuple[Tensor, Decode]], policy: InputPolicy, *, nms: bool = True, **limits: Unpack[Limits]
) -> list[Detections]:
    """Choose the detections of each image from its scores [places, classes], 0..1, and what decodes its places."""
    return [select_detections(scores, decode, height=policy.height, width=policy.width, nms=nms, **limits) for scores, decode in images]


def select_detections(
    scores: Tensor,
    decode: Decode,
    *,
    height: int,
    width: int,
    score_thresh: float,
    nms_thresh: float,
    max_det: int,
    pre_nms_topk: int,
    nms: bool = True,
) -> Detections:
    """Choose the detections of one image out of all places and classes.

    The pairs of place and class above `score_thresh` are ranked, the best `pre_nms_topk` are decoded and clipped to the network
    input, boxes under 0.01 px are dropped, NMS runs within each class, and the best `max_det` stay.

    Args:
        scores: [places, classes], 0..1.
        decode: gives the boxes of the chosen places.
        height: of the network input, pixels.
        width: of the network input, pixels.
        nms: False for networks that give each object to one place; then the best stay however much they overlap.
    """
    flat = scores.flatten()
    candidates = torch.nonzero(flat > score_thresh).squeeze(1)
    if len(candidates) > pre_nms_topk:
        candidates = candidates[flat[candidates].topk(pre_nms_topk, sorted=False).indices]
    places = candidates // scores.shape[1]
    boxes = clip(decode(places), height=height, width=width)
    kept_scores, labels = flat[candidates], candidates % scores.shape[1]

    large = ((boxes[:, 2:] - boxes[:, :2]) >= 0.01).all(dim=1)
    boxes, kept_scores, labels = boxes[large], kept_scores[large], labels[large]
    ranked = batched_nms(boxes, kept_scores, labels, nms_thresh) if nms else kept_scores.argsort(descending=True, stable=True)
    keep = ranked[:max_det]
    return Detections(boxes=boxes[keep], scores=kept_scores[keep], labels=labels[keep])


def take_detections(boxes: Tensor, scores: Tensor, labels: Tensor, *, score_thresh: float, max_det: int) -> Detections:
    """Finish what a graph with NMS inside has found in one image: drop scores not above `score_thresh`, keep the best `max_det`."""
    keep = torch.nonzero(scores > score_thresh).squeeze(1)
    keep = keep[scores[keep].argsort(descending=True, stable=True)][:max_det]
    return Detections(boxes=boxes[keep], scores=scores[keep], labels=labels[keep].to(torch.int64))


def clip(boxes: Tensor, *, height: int, width: int) -> Tensor:
    """Move the corners of xyxy `boxes` [n, 4] that lie outside onto the border of the network input."""
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return boxes.clamp(min=0).minimum(limit)
