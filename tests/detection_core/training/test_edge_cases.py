"""What a training does with images, data and batches at the edge, as docs/recipes.md states it, through the train operation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from detection_core.build import load_checkpoint
from detection_core.operations.train import run
from detection_core.schemas.base import InvalidInput
from tests.detection_core.training.small import CLASSES, dataset_of, small_recipe
from tests.detection_core.training.test_train_operation import context_of, spec_of

# One of each kind of head: a single grid, points, anchors with mining, two stages.
SMALL = ("fastestdet", "fcos_resnet10_fpn", "ssd_resnet10", "fasterrcnn_resnet10_fpn")
MIXING = {"mosaic": 0.5, "mixup": 0.5, "copy_paste": 0.5, "iou_crop": 0.5, "tile": 0.5}


def square(label, *, width=80, height=80):
    pixels = np.full((height, width, 3), 100, dtype=np.uint8)
    pixels[20:60, 20:60] = (220, 30, 30) if label == 0 else (30, 30, 220)
    return pixels, [[20, 20, 60, 60]], [label]


def trained(dataset, out, *, model="fastestdet", **recipe):
    spec = spec_of(model=model, recipe=small_recipe(**{"epochs": 1, "batch_size": 2} | recipe).to_dict())
    return run(spec, context_of(out, dataset))


def require_finite_weights(result, out):
    _, network, _ = load_checkpoint(out / result.last.path)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values() if tensor.is_floating_point())
    assert all(math.isfinite(line["loss"]) for line in result.history)


@pytest.mark.parametrize("model", SMALL)
def test_images_without_objects_black_ones_too_teach_the_background_and_their_ap_is_undefined(tmp_path, model):
    black = (np.zeros((80, 80, 3), dtype=np.uint8), [], [])
    empty = (np.full((60, 90, 3), 120, dtype=np.uint8), [], [])
    dataset = dataset_of(tmp_path / "data", [(*one, split) for one in (black, empty) for split in ("train", "train", "val")])
    result = trained(dataset, tmp_path / "out", model=model, augmentation=MIXING)
    require_finite_weights(result, tmp_path / "out")
    assert result.last.metrics.ap is None and result.steps == 2


def test_ssd_learns_nothing_from_a_batch_without_objects(tmp_path):
    """There the negatives are counted by the positives of their own image; only the decay of the weights moves them."""
    empty = (np.full((60, 90, 3), 120, dtype=np.uint8), [], [])
    result = trained(dataset_of(tmp_path / "data", [(*empty, "train")] * 2), tmp_path / "out", model="ssd_resnet10")
    assert result.history[0]["loss"] == 0.0
    assert result.history[0]["negatives_0"] > 0 and result.history[0]["negative_share_0"] == 0.0


def test_an_image_without_objects_stands_beside_others(tmp_path):
    black = (np.zeros((80, 80, 3), dtype=np.uint8), [], [], "train")
    images = [(*square(number % 2), "train") for number in range(3)] + [black, (*square(0), "val")]
    result = trained(dataset_of(tmp_path / "data", images), tmp_path / "out", augmentation=MIXING)
    require_finite_weights(result, tmp_path / "out")
    assert result.last.metrics.ap is not None


@pytest.mark.parametrize("model", SMALL)
def test_a_class_that_is_never_seen_stays_in_the_network_and_lowers_no_ap_where_it_is_not_in_val(tmp_path, model):
    images = [(*square(number % 2), split) for split in ("train", "val") for number in range(4)]
    dataset = dataset_of(tmp_path / "data", images, classes=(*CLASSES, "stone"))
    result = trained(dataset, tmp_path / "out", model=model)
    require_finite_weights(result, tmp_path / "out")
    assert result.manifest.classes == (*CLASSES, "stone") and result.last.metrics.ap is not None


@pytest.mark.parametrize(
    ("model", "side"), [("fastestdet", 64), ("fcos_resnet10_fpn", 64), ("fasterrcnn_resnet10_fpn", 64), ("ssd_resnet10", 160)]
)
def test_a_batch_of_one_is_trained(tmp_path, model, side):
    dataset = dataset_of(tmp_path / "data", [(*square(number % 2), "train") for number in range(3)])
    result = trained(dataset, tmp_path / "out", model=model, batch_size=1, input_size=side)
    require_finite_weights(result, tmp_path / "out")
    assert result.steps == 3


def test_a_batch_of_one_is_refused_where_batch_normalisation_has_a_single_value(tmp_path):
    dataset = dataset_of(tmp_path / "data", [(*square(number % 2), "train") for number in range(3)])
    with pytest.raises(
        InvalidInput, match=r"with 1 image in a batch of 64 px .* one value .*; set 'batch_size' to 2 or more, or raise 'input_size'"
    ):
        trained(dataset, tmp_path / "out", model="ssd_resnet10", batch_size=1, input_size=64)


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(("width", "height"), [(8, 6000), (6000, 8)])
def test_an_image_of_extreme_shape_is_trained_and_evaluated(tmp_path, model, width, height):
    pixels = np.full((height, width, 3), 100, dtype=np.uint8)
    boxes = [[0, 0, 8, 8], [0, 0, width, height]]
    images = [(pixels, boxes, [0, 1], split) for split in ("train", "train", "val")] + [(*square(0), "train")] * 2
    result = trained(dataset_of(tmp_path / "data", images), tmp_path / "out", model=model, augmentation=MIXING)
    require_finite_weights(result, tmp_path / "out")
    assert result.steps == 2 and result.last.metrics is not None


def test_a_loss_that_is_no_number_ends_the_job_with_a_remedy_and_leaves_no_checkpoint(tmp_path):
    dataset = dataset_of(tmp_path / "data", [(*square(number % 2), "train") for number in range(4)])
    with pytest.raises(InvalidInput, match=r"the (loss|gradient) became (nan|inf) at step \d+ .*; lower 'lr'"):
        trained(dataset, tmp_path / "out", lr=10.0, warmup_fraction=0.0, grad_clip=None, epochs=200, weight_decay=1.0)
    assert not list((tmp_path / "out").glob("*.safetensors"))
