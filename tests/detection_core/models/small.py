"""Small networks and a drawn batch for the tests of the families."""

from __future__ import annotations

import torch

from detection_core.build import build_adapter

# Of a family that has sizes, the smallest of each version.
FAMILIES = (
    "fcos_resnet10_fpn",
    "retinanet_resnet10_fpn",
    "ssd_resnet10",
    "fasterrcnn_resnet10_fpn",
    "fastestdet",
    "yolov1_compact",
    "yolov3_compact",
    "yolov8n",
    "yolov10n",
)
SCORING = (
    *("cls_logits", "bbox_reg", "bbox_ctrness", "bbox_pred", "cls_score"),
    *("predict", "head.objectness", "head.box", "head.classes", "one_to_one"),
)
# Through many norms that have seen nothing hardly anything comes; YOLOv1's last layer tells the scores themselves and no logits.
SCALES = {"yolov1_compact": 0.01, "yolov8n": 0.5, "yolov10n": 0.65}
SIDE = 128
CLASSES = ("crop", "weed")
# Per image: boxes and labels. The label is told by the colour.
SCENES = (
    ([[10.0, 12, 42, 40], [70, 60, 118, 108]], [0, 1]),
    ([[60.0, 10, 100, 50], [8, 70, 40, 110], [80, 88, 104, 112]], [1, 0, 0]),
)


def small(name: str, *, classes=CLASSES, side: int = SIDE, seed: int = 0):
    """An adapter of a compact detector and its network with seeded random weights."""
    torch.manual_seed(seed)
    adapter = build_adapter(name, classes=classes, input_size=side)
    return adapter, adapter.build()


def perturbed(name: str, *, classes=CLASSES, side: int = SIDE):
    """The same with scores that differ from place to place: random initial heads give every place the same."""
    adapter, model = small(name, classes=classes, side=side)
    scale = SCALES.get(name, 0.1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if any(part in key for part in SCORING):
                parameter.add_(torch.randn_like(parameter) * (scale if parameter.ndim > 1 else 0.1))
    return adapter, model.eval()


def drawn_batch():
    """Two grey images with red crops and blue weeds: images [2, 3, SIDE, SIDE] and targets."""
    images = torch.zeros(len(SCENES), 3, SIDE, SIDE)
    targets = []
    for image, (boxes, labels) in zip(images, SCENES, strict=True):
        for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
            image[:, int(y1) : int(y2), int(x1) : int(x2)] = -1.0
            image[2 * label, int(y1) : int(y2), int(x1) : int(x2)] = 2.0
        targets.append({"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)})
    return images, targets


def no_targets(images: int):
    return [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in range(images)]
