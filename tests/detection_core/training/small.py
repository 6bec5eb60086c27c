"""A drawn data set and a small network to train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detection_core.build import build_adapter, make_manifest
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import HealthReport
from detection_core.training.batches import TrainingBatches
from detection_core.training.ema import WeightAverage
from detection_core.training.loop import Run

CLASSES = ("crop", "weed")
SIDE = 64


def draw_dataset(root: Path, *, train: int = 10, val: int = 3) -> DetectionDataset:
    """Write grey images with one red or blue square each, and return them as a data set."""
    rng = np.random.default_rng(1)
    images = []
    for number in range(train + val):
        label, (x, y), size = number % 2, rng.integers(0, 40, 2), int(rng.integers(16, 40))
        pixels = rng.integers(90, 110, (80, 80, 3)).astype(np.uint8)
        pixels[y : y + size, x : x + size] = (220, 30, 30) if label == 0 else (30, 30, 220)
        images.append((pixels, [[x, y, x + size, y + size]], [label], "train" if number < train else "val"))
    return dataset_of(root, images)


def dataset_of(
    root: Path, images: Sequence[tuple[np.ndarray, list, list[int], str]], classes: tuple[str, ...] = CLASSES
) -> DetectionDataset:
    """Write pictures and return them with their boxes xyxy, labels and splits as a data set."""
    root.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (pixels, boxes, labels, split) in enumerate(images):
        name = f"{number:03d}.png"
        Image.fromarray(pixels).save(root / name)
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        records.append(
            ImageRecord(
                image_id=number + 1,
                file=name,
                width=pixels.shape[1],
                height=pixels.shape[0],
                split=split,
                group=None,
                sha256="0" * 64,
                boxes=corners,
                labels=np.array(labels, dtype=np.int64),
                iscrowd=np.zeros(len(labels), dtype=bool),
                area=np.prod(corners[:, 2:] - corners[:, :2], axis=1),
            )
        )
    return DetectionDataset(
        name="squares",
        classes=classes,
        records=tuple(records),
        root=root,
        content_hash="b" * 64,
        form="canonical",
        licence=None,
        source=None,
        report=HealthReport(),
    )


def small_recipe(**changes) -> Recipe:
    """Two epochs at 64 px."""
    return Recipe(**({"epochs": 2, "batch_size": 4, "input_size": SIDE, "seed": 5} | changes))


def start(recipe: Recipe, dataset: DetectionDataset, name: str = "fcos_resnet10_fpn", *, workers: int = 1):
    """Return a training at its start, its batches and its manifest."""
    torch.manual_seed(recipe.seed)
    adapter = build_adapter(name, classes=dataset.classes, input_size=SIDE)
    model = adapter.build().to(memory_format=torch.channels_last)
    batches = TrainingBatches(
        dataset,
        dataset.split("train"),
        adapter.input,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        workers=workers,
    )
    run = Run(
        adapter=adapter,
        model=model,
        average=WeightAverage(model, recipe.ema_decay),
        optimizer=torch.optim.AdamW(adapter.param_groups(model, recipe.lr, recipe.weight_decay)),
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
    )
    return run, batches, make_manifest(adapter, dataset_sha256=dataset.content_hash)
