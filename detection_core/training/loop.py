"""The training loop. It knows nothing of data sets, jobs or files: hooks bring those."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from detection_core.models.adapter import DetectorAdapter
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CocoMetrics
from detection_core.training.batches import Batch
from detection_core.training.ema import WeightAverage

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

    `epoch` and `step_in_epoch` name the next step; `step` counts those done. `epoch_sums` adds up the losses of the current epoch.
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
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    images: int = 0
    carried_s: float = 0.0
    carried_images: int = 0
    paused_s: float = 0.0
    reserve_s: float = 0.0
    epoch_sums: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None
    validated: tuple[int, CocoMetrics] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, earlier attempts and evaluations included."""
        return self.carried_s + time.monotonic() - self.started

    @property
    def images_per_s(self) -> float:
        """Training images a second in this attempt."""
        return (self.images - self.carried_images) / max(time.monotonic() - self.started - self.paused_s, 1e-9)

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
    def finished(self) -> bool:
        """Whether all epochs are done or the time is up."""
        return self.epoch >= self.recipe.epochs or (self.recipe.max_minutes is not None and self.fraction >= 1.0)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Keep the time of what happens inside out of `images_per_s`."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.paused_s += time.monotonic() - begin

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


def run_training(run: Run, batches: Callable[[int, int], Generator[Batch]], hooks: Sequence[Hook]) -> None:
    """Train until the last epoch or the time limit; an exception from a hook ends it at a place it can go on from.

    Args:
        batches: given epoch and first step, both from 0, yields the rest of that epoch's batches.

    Raises:
        TrainingDiverged: a loss or a gradient is not finite.
    """
    while not run.finished:
        with closing(batches(run.epoch, run.step_in_epoch)) as rest_of_epoch:
            for images, targets in rest_of_epoch:
                train_step(run, images, targets)
                for hook in hooks:
                    hook.after_step(run)
                if run.finished:
                    break
        if run.step_in_epoch < run.steps_per_epoch:
            return  # the time is up within the epoch
        for hook in hooks:
            hook.after_epoch(run)
        run.epoch, run.step_in_epoch, run.epoch_sums = run.epoch + 1, 0, {}


def train_step(run: Run, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> None:
    """Do one step of gradient descent and move the average of the weights."""
    # Two-stage detectors draw samples: a seed of its own for each step makes the draw independent of what ran before.
    torch.manual_seed(step_seed(run.recipe.seed, run.step))
    device = next(run.model.parameters()).device
    images = images.to(device, memory_format=torch.channels_last)
    targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
    lr = run.lr
    for group in run.optimizer.param_groups:
        group["lr"] = lr

    run.model.train()
    loss = run.adapter.loss(run.model, images, targets)
    total = loss.total
    run.losses = {"loss": total.item()} | {name: value.item() for name, value in loss.parts.items()}
    _require_finite(run, run.losses["loss"], "loss", lr)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.grad_clip or math.inf)
    _require_finite(run, norm.item(), "gradient", lr)
    run.optimizer.step()

    run.step += 1
    run.step_in_epoch += 1
    run.images += len(images)
    run.average.update(run.model, run.step)
    for name, value in run.losses.items():
        run.epoch_sums[name] = run.epoch_sums.get(name, 0.0) + value


def learning_rate(fraction: float, recipe: Recipe) -> float:
    """Return the learning rate at a `fraction` 0..1 of the training: linear warm-up, then a cosine down to `final_lr_fraction`."""
    warmup = recipe.warmup_fraction
    if fraction < warmup:
        return recipe.lr * max(fraction / warmup, 0.01)
    progress = (fraction - warmup) / (1 - warmup) if warmup < 1 else 1.0
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return recipe.lr * (recipe.final_lr_fraction + (1 - recipe.final_lr_fraction) * cosine)


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
