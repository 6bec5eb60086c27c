"""The training loop. It knows nothing of data sets, jobs or files: hooks bring those."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from detection_core.models.adapter import DetectorAdapter, Loss, Target, at_size
from detection_core.nn.balance import Balance
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CocoMetrics
from detection_core.training.batches import Batch
from detection_core.training.ema import WeightAverage

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Below this scale of the fp16 gradients it is not the scale any more that makes them infinite.
LEAST_SCALE = 1.0
Ended = Literal["epochs", "time", "early_stop"]
# The first step is slow (caches are empty, the machine may be busy): what is reserved after it must not end the training at once.
MOST_RESERVED = 0.5


class TrainingDiverged(InvalidInput):
    """The loss is no number any more; the message names the step and what to change."""


@dataclass
class Best:
    """The averaged weights that did best on val so far, on the CPU."""

    weights: dict[str, Tensor]
    metrics: CocoMetrics
    epoch: float


@dataclass
class Run:
    """A training under way: its parts, how far it is, what it has found. The loop moves it on, hooks read it.

    `epoch` and `step_in_epoch` name the next step; `step` counts those done. `epoch_sums` adds up the losses of the current epoch,
    `balance` who brought how much of the classification loss in it. `closing` is whether this epoch is one of the last, in which images
    are not mixed. `stale` counts the evaluations since the best one. `frozen` are parts whose norms keep their statistics, `scaler` keeps
    fp16 gradients in range. `waited_s` is the time in which this attempt waited for batches.
    `carried_s` and `carried_images` are those of earlier attempts, `paused_s` is the time in which this attempt did not train,
    `reserve_s` what must remain of the time limit for the last evaluation, of which at most half the limit is kept. `validated` holds
    the last numbers on val and their step.
    """

    adapter: DetectorAdapter
    model: nn.Module
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    steps_per_epoch: int
    frozen: tuple[nn.Module, ...] = ()
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    closing: bool = False
    images: int = 0
    carried_s: float = 0.0
    carried_images: int = 0
    paused_s: float = 0.0
    waited_s: float = 0.0
    reserve_s: float = 0.0
    epoch_sums: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    balance: Balance | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None
    validated: tuple[int, CocoMetrics] | None = None
    stale: int = 0
    started: float = field(default_factory=time.monotonic)
    _adapters: dict[tuple[int, int], DetectorAdapter] = field(default_factory=dict)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, earlier attempts and evaluations included."""
        return self.carried_s + time.monotonic() - self.started

    @property
    def images_per_s(self) -> float:
        """Training images a second in this attempt."""
        return (self.images - self.carried_images) / self._training_s

    @property
    def waiting_share(self) -> float:
        """What part of the training time of this attempt the steps waited for batches, 0..1."""
        return min(self.waited_s / self._training_s, 1.0)

    @property
    def _training_s(self) -> float:
        return max(time.monotonic() - self.started - self.paused_s, 1e-9)

    @property
    def fraction(self) -> float:
        """How far the training is, 0..1: by steps, or by time where it is limited and that is further along."""
        by_steps = self.step / (self.recipe.epochs * self.steps_per_epoch)
        if self.recipe.max_minutes is None:
            return min(by_steps, 1.0)
        limit_s = self.recipe.max_minutes * 60
        limit = limit_s - min(self.reserve_s, MOST_RESERVED * limit_s)
        return min(max(by_steps, self.elapsed_s / limit), 1.0)

    @property
    def ended(self) -> Ended | None:
        """What ends the training: all epochs done, no better AP for long enough, the time up. None while it goes on."""
        if self.epoch >= self.recipe.epochs:
            return "epochs"
        if self.recipe.early_stop is not None and self.stale >= self.recipe.early_stop:
            return "early_stop"
        return "time" if self.recipe.max_minutes is not None and self.fraction >= 1.0 else None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Keep the time of what happens inside out of `images_per_s`."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.paused_s += time.monotonic() - begin

    def adapter_at(self, height: int, width: int) -> DetectorAdapter:
        """Return the adapter for images of this size: its own, or under `multi_scale` that of another input."""
        if (height, width) not in self._adapters:
            self._adapters[height, width] = at_size(self.adapter, height, width)
        return self._adapters[height, width]

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.fraction, self.recipe)


class Hook(Protocol):
    """Something that looks at a training: after each step, and after each epoch (before that epoch's number is raised)."""

    def after_step(self, run: Run) -> None:
        """Called when a step is complete."""

    def after_epoch(self, run: Run) -> None:
        """Called when all steps of an epoch are done."""


def run_training(run: Run, batches: Callable[[int, int, bool], Generator[Batch]], hooks: Sequence[Hook]) -> Ended:
    """Train to the end and return what ended it; an exception from a hook ends it at a place it can go on from.

    Args:
        batches: given epoch and first step, both from 0, and whether the training closes, yields the rest of that epoch's batches.

    Raises:
        TrainingDiverged: a loss or a gradient is not finite.
    """
    while (ended := run.ended) is None:
        if run.step_in_epoch == 0:
            run.closing = run.fraction >= 1 - run.recipe.augmentation.closing_fraction
        with closing(batches(run.epoch, run.step_in_epoch, run.closing)) as rest_of_epoch:
            waited_for = _timed(run, rest_of_epoch)
            while run.step_in_epoch < run.steps_per_epoch:
                train_step(run, waited_for)
                for hook in hooks:
                    hook.after_step(run)
                if run.ended is not None:
                    break
        if run.step_in_epoch < run.steps_per_epoch:
            return "time"
        for hook in hooks:
            hook.after_epoch(run)
        run.epoch, run.step_in_epoch, run.epoch_sums, run.balance = run.epoch + 1, 0, {}, None
    return ended


def train_step(run: Run, batches: Iterator[Batch]) -> None:
    """Do one step of gradient descent and move the average of the weights.

    The step takes the next `accumulate` batches, or as many as there are, and averages their gradients: each batch counts alike.
    """
    lr = run.lr
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    run.model.train()
    for part in run.frozen:
        part.eval()
    run.optimizer.zero_grad(set_to_none=True)
    found = [
        _add_gradient(run, number, images, targets, lr) for number, (images, targets) in enumerate(islice(batches, run.recipe.accumulate))
    ]
    run.losses = {name: sum(losses[name] for losses in found) / len(found) for name in found[0]}
    _average_gradient(run, len(found))
    _descend(run, lr)

    run.step += 1
    run.step_in_epoch += 1
    run.average.update(run.model, run.step)
    for name, value in run.losses.items():
        run.epoch_sums[name] = run.epoch_sums.get(name, 0.0) + value


def _timed(run: Run, batches: Generator[Batch]) -> Iterator[Batch]:
    """Pass batches on and add up the time in which they were not there."""
    while True:
        begin = time.monotonic()
        batch = next(batches, None)
        run.waited_s += time.monotonic() - begin
        if batch is None:
            return
        yield batch


def _add_gradient(run: Run, number: int, images: Tensor, targets: Sequence[Target], lr: float) -> dict[str, float]:
    """Add the gradient of one batch, the `number`-th of its step, to those there are, and return the losses."""
    # Two-stage detectors draw samples: a seed of its own for each batch makes the draw independent of what ran before.
    torch.manual_seed(step_seed(run.recipe.seed, run.step * run.recipe.accumulate + number))
    device = next(run.model.parameters()).device
    images = images.to(device, memory_format=torch.channels_last)
    targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
    with torch.autocast(device.type, dtype=AUTOCAST[run.recipe.dtype], enabled=run.recipe.dtype != "fp32"):
        loss = _loss(run, images, targets)
        total = loss.total
    losses = {"loss": total.item()} | {name: value.item() for name, value in loss.parts.items()}
    _require_finite(run, losses["loss"], "loss", lr)
    run.scaler.scale(total).backward()
    run.images += len(images)
    if loss.balance is not None:
        run.balance = loss.balance if run.balance is None else run.balance + loss.balance
    return losses


def _loss(run: Run, images: Tensor, targets: Sequence[Target]) -> Loss:
    try:
        return run.adapter_at(*images.shape[-2:]).loss(run.model, images, targets)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # torch's words where a batch norm has one value to take the mean of
            raise
        raise InvalidInput(
            f"with {len(images)} image in a batch of {images.shape[-1]} px the batch normalisation of {run.adapter.name} has one value "
            "for a channel and no spread to learn from; set 'batch_size' to 2 or more, or raise 'input_size'"
        ) from None


def _average_gradient(run: Run, batches: int) -> None:
    run.scaler.unscale_(run.optimizer)
    if batches > 1:
        torch._foreach_div_([parameter.grad for parameter in run.model.parameters() if parameter.grad is not None], batches)


def _descend(run: Run, lr: float) -> None:
    """Clip the gradient and move the weights. Where fp16 could not hold the gradient, its scale falls and the weights stay."""
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.grad_clip or math.inf)
    if not run.scaler.is_enabled() or run.scaler.get_scale() < LEAST_SCALE:
        _require_finite(run, norm.item(), "gradient", lr)
    run.scaler.step(run.optimizer)
    run.scaler.update()


def learning_rate(fraction: float, recipe: Recipe) -> float:
    """Return the learning rate at a `fraction` 0..1 of the training: linear warm-up, then down to `final_lr_fraction`.

    Down a cosine (SGDR, Loshchilov and Hutter 2017, equation 5, without restarts) or a straight line.
    """
    warmup = recipe.warmup_fraction
    if fraction < warmup:
        return recipe.lr * max(fraction / warmup, 0.01)
    progress = (fraction - warmup) / (1 - warmup) if warmup < 1 else 1.0
    left = 1 - progress if recipe.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return recipe.lr * (recipe.final_lr_fraction + (1 - recipe.final_lr_fraction) * left)


def step_seed(seed: int, step: int) -> int:
    """Return the seed of torch's generator for one step: a hash, so that neighbouring steps have nothing in common."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def epoch_means(run: Run) -> dict[str, float]:
    """Return the mean losses of the current epoch so far."""
    return {name: value / max(run.step_in_epoch, 1) for name, value in run.epoch_sums.items()}


def _require_finite(run: Run, value: float, what: str, lr: float) -> None:
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"the {what} became {value} at step {run.step + 1} (epoch {run.epoch + 1}) with learning rate {lr:.2g}; "
            "lower 'lr', lengthen 'warmup_fraction' or lower 'grad_clip' in the recipe"
        )
