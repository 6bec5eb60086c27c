"""Batches depend on seed, epoch and step alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation
from detection_core.training.batches import TrainingBatches, scaled_inputs
from tests.detection_core.training.small import draw_dataset

POLICY = InputPolicy(height=64, width=64)


def batches_of(dataset, *, batch_size=4, seed=3, records=None, **changes):
    return TrainingBatches(dataset, records or dataset.split("train"), POLICY, Augmentation(), batch_size=batch_size, seed=seed, **changes)


def fingerprint(batch):
    images, targets = batch
    return images.sum().item(), [target["boxes"].sum().item() for target in targets]


def test_the_same_seed_gives_the_same_batches_and_another_seed_or_epoch_others(squares):
    first = [fingerprint(batch) for batch in batches_of(squares).epoch(0)]
    assert first == [fingerprint(batch) for batch in batches_of(squares).epoch(0)]
    assert first != [fingerprint(batch) for batch in batches_of(squares).epoch(1)]
    assert first != [fingerprint(batch) for batch in batches_of(squares, seed=4).epoch(0)]


def test_an_epoch_entered_in_the_middle_goes_on_with_the_same_batches(squares):
    whole = [fingerprint(batch) for batch in batches_of(squares).epoch(1)]
    assert [fingerprint(batch) for batch in batches_of(squares).epoch(1, 2)] == whole[2:]


def test_images_that_do_not_fit_into_the_cache_are_the_same(squares):
    cached = batches_of(squares)
    uncached = batches_of(squares, cache_bytes=0)
    for epoch in (0, 1):
        assert [fingerprint(batch) for batch in cached.epoch(epoch)] == [fingerprint(batch) for batch in uncached.epoch(epoch)]


def test_a_batch_has_images_of_the_input_size_and_float32_targets(squares):
    images, targets = next(iter(batches_of(squares).epoch(0)))
    assert images.shape == (4, 3, 64, 64) and images.dtype == torch.float32
    assert all(target["boxes"].dtype == torch.float32 and target["labels"].dtype == torch.int64 for target in targets)


@pytest.mark.parametrize(("images", "batch_size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (3, 8, [3]), (2, 1, [1, 1])])
def test_a_last_batch_of_one_image_is_left_out(tmp_path, images, batch_size, sizes):
    batches = batches_of(draw_dataset(tmp_path, train=images, val=0), batch_size=batch_size)
    assert [len(batch[1]) for batch in batches.epoch(0)] == sizes
    assert batches.steps_per_epoch == len(sizes)


def test_crowd_boxes_are_no_targets(squares):
    record = replace(squares.split("train")[0], iscrowd=np.array([True]))
    _, targets = next(iter(batches_of(squares, records=[record, record], batch_size=2).epoch(0)))
    assert [len(target["labels"]) for target in targets] == [0, 0]


def test_one_training_image_is_too_few(squares):
    with pytest.raises(InvalidInput, match="needs at least 2"):
        batches_of(squares, records=squares.split("train")[:1])


def test_an_unreadable_image_ends_the_epoch_with_its_name(tmp_path):
    dataset = draw_dataset(tmp_path, train=4, val=0)
    (tmp_path / "002.png").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"002\.png"):
        list(batches_of(dataset).epoch(0))


def test_an_epoch_that_is_left_early_leaves_no_thread(squares):
    epoch = batches_of(squares, batch_size=1).epoch(0)
    next(epoch)
    epoch.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


MIXING = Augmentation(mosaic=0.5, mixup=0.5, copy_paste=0.5, multi_scale=0.5)


def mixing_batches(dataset, **changes):
    return TrainingBatches(dataset, dataset.split("train"), POLICY, MIXING, **({"batch_size": 2, "seed": 3} | changes))


def test_neither_workers_nor_the_cache_change_a_batch(squares):
    plain = [fingerprint(batch) for epoch in range(2) for batch in mixing_batches(squares).epoch(epoch)]
    # Room for three of the ten images.
    other = mixing_batches(squares, workers=3, cache_bytes=3 * 80 * 80 * 3 + 100)
    assert plain == [fingerprint(batch) for epoch in range(2) for batch in other.epoch(epoch)]
    assert len(other._cache) == 3
    assert plain[7:] == [fingerprint(batch) for batch in other.epoch(1, 2)]


def test_with_accumulation_an_epoch_is_entered_at_a_step(squares):
    batches = mixing_batches(squares, accumulate=2)
    whole = [fingerprint(batch) for batch in batches.epoch(0)]
    assert (len(whole), batches.steps_per_epoch) == (5, 3)
    assert [fingerprint(batch) for batch in batches.epoch(0, 2)] == whole[4:]


def test_under_multi_scale_a_batch_has_one_side_of_those_around_the_input(squares):
    batches = mixing_batches(squares)
    sides = [batch[0].shape[2:] for epoch in range(6) for batch in batches.epoch(epoch)]
    assert {tuple(side) for side in sides} == {(64, 64), (96, 96)}
    assert [one.width for one in scaled_inputs(InputPolicy(height=256, width=256), 0.25)] == [192, 224, 256, 288, 320]


@pytest.mark.parametrize("policy", [InputPolicy(height=300, width=300), InputPolicy(height=64, width=96)])
def test_multi_scale_needs_a_square_of_whole_steps(policy):
    with pytest.raises(InvalidInput, match=r"needs a square input whose side is a multiple of 32.*set 'input_size', or 'multi_scale' to 0"):
        scaled_inputs(policy, 0.2)


def test_a_training_that_closes_mixes_nothing(squares):
    """Its batches are those of the same recipe without mixing."""
    closing = [fingerprint(batch) for batch in mixing_batches(squares).epoch(0, closing=True)]
    plain = TrainingBatches(squares, squares.split("train"), POLICY, Augmentation(multi_scale=0.5), batch_size=2, seed=3)
    assert closing == [fingerprint(batch) for batch in plain.epoch(0)]
    assert closing != [fingerprint(batch) for batch in mixing_batches(squares).epoch(0)]
