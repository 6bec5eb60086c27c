"""The loop: learning rate, time limit, seeds, divergence."""

from __future__ import annotations

import math
from contextlib import closing

import pytest
import torch

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.recipe import Recipe
from detection_core.training import loop
from detection_core.training.ema import WeightAverage
from detection_core.training.loop import TrainingDiverged, learning_rate, run_training, step_seed
from tests.detection_core.training.small import small_recipe, start


class Clock:
    """Stands in for the time module: each reading is `tick` seconds after the one before."""

    def __init__(self, tick):
        self.now, self.tick = 0.0, tick

    def monotonic(self):
        self.now += self.tick
        return self.now


class Watch:
    """Remembers what a hook sees."""

    def __init__(self):
        self.steps, self.epochs, self.lrs = [], [], []

    def after_step(self, run):
        self.steps.append((run.epoch, run.step_in_epoch))
        self.lrs.append(run.optimizer.param_groups[0]["lr"])

    def after_epoch(self, run):
        self.epochs.append(run.epoch)


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    recipe = Recipe(lr=0.1, warmup_fraction=0.1, final_lr_fraction=0.02)
    assert learning_rate(0.0, recipe) == pytest.approx(0.001)
    assert learning_rate(0.05, recipe) == pytest.approx(0.05)
    assert learning_rate(0.1, recipe) == pytest.approx(0.1)
    assert learning_rate(0.55, recipe) == pytest.approx(0.051)
    assert learning_rate(1.0, recipe) == pytest.approx(0.002)


def test_the_learning_rate_may_fall_along_a_line():
    recipe = Recipe(lr=0.1, warmup_fraction=0.1, final_lr_fraction=0.02, schedule="linear")
    assert [learning_rate(fraction, recipe) for fraction in (0.05, 0.1, 0.325, 0.55, 1.0)] == pytest.approx(
        [0.05, 0.1, 0.0755, 0.051, 0.002]
    )


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_the_learning_rate_is_defined_with_no_warm_up_and_with_nothing_else(warmup):
    rates = [learning_rate(fraction, Recipe(lr=0.1, warmup_fraction=warmup)) for fraction in (0.0, 0.5, 1.0)]
    assert all(0 < rate <= 0.1 for rate in rates)


def test_hooks_see_every_step_and_every_epoch(squares):
    run, batches, _ = start(small_recipe(), squares)
    watch = Watch()
    run_training(run, batches.epoch, [watch])
    assert watch.steps == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert watch.epochs == [0, 1]
    assert (run.epoch, run.step, run.images) == (2, 6, 20)
    assert watch.lrs[0] < watch.lrs[1] > watch.lrs[-1]


def test_training_ends_within_an_epoch_when_the_time_is_up_and_keeps_the_reserve(squares, monkeypatch):
    run, batches, _ = start(small_recipe(epochs=1000, max_minutes=1), squares)
    clock = Clock(tick=1.5)
    monkeypatch.setattr(loop.time, "monotonic", clock.monotonic)
    run.started, run.reserve_s = clock.monotonic(), 20.0
    watch = Watch()
    run_training(run, batches.epoch, [watch])
    assert 40 <= clock.now <= 50
    assert run.step > 3 and run.fraction == 1.0
    assert watch.lrs[-1] < 0.2 * max(watch.lrs)


def test_a_reserve_larger_than_the_limit_leaves_half_of_the_time_for_training(squares, monkeypatch):
    run, batches, _ = start(small_recipe(epochs=1000, max_minutes=1), squares)
    clock = Clock(tick=1.5)
    monkeypatch.setattr(loop.time, "monotonic", clock.monotonic)
    run.started, run.reserve_s = clock.monotonic(), 500.0  # as after a first step on a busy machine
    run_training(run, batches.epoch, [])
    assert 30 <= clock.now <= 40
    assert run.step > 3


def test_time_of_earlier_attempts_counts(squares, monkeypatch):
    run, batches, _ = start(small_recipe(epochs=1000, max_minutes=1), squares)
    run.carried_s = 61.0
    run_training(run, batches.epoch, [])
    assert run.step == 0


def test_a_loss_that_is_no_number_ends_the_training_with_a_remedy(squares):
    run, batches, _ = start(small_recipe(), squares)

    class Poison(Watch):
        def after_step(self, run):
            torch.nn.init.constant_(run.model.head.classification_head.cls_logits.bias, math.nan)

    with pytest.raises(TrainingDiverged, match=r"the loss became nan at step 2 \(epoch 1\) with learning rate .*; lower 'lr'"):
        run_training(run, batches.epoch, [Poison()])
    assert run.step == 1
    assert issubclass(TrainingDiverged, InvalidInput)


def gradients(run):
    return [parameter.grad.clone() for parameter in run.model.parameters() if parameter.grad is not None]


def test_a_step_of_several_batches_takes_the_mean_of_their_gradients(squares):
    """Held against two steps of one batch each from the same weights."""
    recipe = small_recipe(batch_size=2, grad_clip=None)
    run, batches, _ = start(recipe.model_copy(update={"accumulate": 2}), squares)
    with closing(batches.epoch(0)) as epoch:
        loop.train_step(run, epoch)
    alone, losses = [], []
    for number in range(2):
        single, batches, _ = start(recipe, squares)
        with closing(batches.epoch(0, number)) as epoch:
            loop.train_step(single, epoch)
        alone.append(gradients(single))
        losses.append(single.losses["loss"])
    for both, first, second in zip(gradients(run), *alone, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-5, atol=1e-7)
    assert run.losses["loss"] == pytest.approx(sum(losses) / 2) and (run.step, run.images) == (1, 4)


def test_the_last_step_of_an_epoch_takes_the_batches_that_are_left(squares):
    run, batches, _ = start(small_recipe(epochs=1, batch_size=2, accumulate=3, grad_clip=None), squares)
    assert (batches.batches_per_epoch, batches.steps_per_epoch) == (5, 2)
    sums = []

    class Count(Watch):
        def after_step(self, run):
            sums.append(run.images)

    run_training(run, batches.epoch, [Count()])
    assert sums == [6, 10]


def test_the_time_that_steps_wait_for_batches_is_told_as_a_share(squares, monkeypatch):
    run, batches, _ = start(small_recipe(epochs=1), squares)
    clock = Clock(tick=0.0)
    monkeypatch.setattr(loop, "time", clock)
    run.started = clock.now

    def slow(epoch, first_step, closing):
        for batch in batches.epoch(epoch, first_step, closing):
            clock.now += 3.0  # until the batch is there
            yield batch

    class Work(Watch):
        def after_step(self, run):
            clock.now += 1.0
            with run.pause():
                clock.now += 50.0

    run_training(run, slow, [Work()])
    assert run.waiting_share == pytest.approx(9 / 12)


def test_mixing_ends_with_the_last_part_of_the_training(squares):
    run, batches, _ = start(small_recipe(epochs=5, augmentation={"mosaic": 1.0, "closing_fraction": 0.4}), squares)
    asked = []

    def batches_of(epoch, first_step, closing):
        asked.append((epoch, closing))
        return batches.epoch(epoch, first_step, closing)

    run_training(run, batches_of, [])
    assert asked == [(0, False), (1, False), (2, False), (3, True), (4, True)]


def test_a_gradient_that_fp16_cannot_hold_lowers_the_scale_and_leaves_the_weights(squares):
    run, batches, _ = start(small_recipe(), squares)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    overflow = next(run.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    with closing(batches.epoch(0)) as epoch:
        loop.train_step(run, epoch)
        assert run.scaler.get_scale() == 256.0
        assert all(torch.equal(old, new) for old, new in zip(before, run.model.parameters(), strict=True))
        overflow.remove()
        loop.train_step(run, epoch)
    assert not all(torch.equal(old, new) for old, new in zip(before, run.model.parameters(), strict=True))


def test_scaled_gradients_are_taken_back_to_their_size_before_they_are_clipped(squares):
    plain, batches, _ = start(small_recipe(grad_clip=0.5), squares)
    with closing(batches.epoch(0)) as epoch:
        loop.train_step(plain, epoch)
    scaled, batches, _ = start(small_recipe(grad_clip=0.5), squares)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with closing(batches.epoch(0)) as epoch:
        loop.train_step(scaled, epoch)
    for one, other in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_step_seeds_differ_and_fit_torch():
    seeds = {step_seed(seed, step) for seed in range(3) for step in range(50)}
    assert len(seeds) == 150 and max(seeds) < 2**63


def test_the_sampling_of_a_two_stage_step_does_not_depend_on_what_ran_before(squares):
    losses = []
    for noise in (0, 17):
        run, batches, _ = start(small_recipe(), squares, name="fasterrcnn_resnet10_fpn")
        torch.rand(noise)
        with_batches = batches.epoch(0)
        loop.train_step(run, with_batches)
        with_batches.close()
        losses.append(run.losses)
    assert losses[0] == losses[1] and math.isfinite(losses[0]["loss"])


def test_the_average_follows_quickly_at_first_and_slowly_later():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    average = WeightAverage(model, decay=0.9)
    torch.nn.init.constant_(average.model[0].weight, 0.0)
    torch.nn.init.constant_(model[0].weight, 1.0)
    model[1].num_batches_tracked.fill_(7)
    average.update(model, 1)
    assert average.model[0].weight.item() == pytest.approx(1 - 2 / 11)
    torch.nn.init.constant_(average.model[0].weight, 0.0)
    average.update(model, 10_000)
    assert average.model[0].weight.item() == pytest.approx(0.1)
    assert average.model[1].num_batches_tracked.item() == 7
    assert not average.model.training and not average.model[0].weight.requires_grad
