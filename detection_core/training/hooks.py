"""What a training does besides training: validate, tell, save, listen."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import nn

from detection_core.schemas.events import EventWriter
from detection_core.schemas.results import CocoMetrics
from detection_core.training.loop import Best, Run, epoch_means

PROGRESS_EVERY_S = 1.0
METRICS_EVERY_S = 10.0
# Where time is limited, evaluations on val (the last one not counted) take at most this part of it.
VALIDATION_SHARE = 0.15
# The part of the progress bar that the training itself fills; the rest is for the last evaluation and the files.
TRAINING_PART = 0.96
# Saving may take at most one tenth of the time, however large the model.
SAVING_SHARE = 0.1


class StopRequested(Exception):
    """The training was told to stop; its state can be saved as it is."""


class StopOnRequest:
    """Ends the training by StopRequested once `stop()` is true."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def after_step(self, run: Run) -> None:
        if self._stop():
            raise StopRequested

    def after_epoch(self, run: Run) -> None:
        """Nothing: a state of between two epochs would have this epoch evaluated, and `run.stale` counted, once more."""


class Validation:
    """Evaluates the averaged weights on val, keeps the best, and counts the evaluations since (`run.stale`).

    Every `eval_every` epochs of the recipe; where time is limited, only as often as VALIDATION_SHARE allows.

    Args:
        evaluate: gives the numbers of a model on val.
        images: number of val images; tells what an evaluation costs before there was one.
    """

    def __init__(self, evaluate: Callable[[nn.Module], CocoMetrics], *, images: int) -> None:
        self._evaluate = evaluate
        self._images = images
        self._spent_s = 0.0
        self._last_s: float | None = None

    def after_step(self, run: Run) -> None:
        if self._last_s is None and run.images > run.carried_images:
            run.reserve_s = 1.2 * self._cost(run)

    def after_epoch(self, run: Run) -> None:
        due = (run.epoch + 1) % run.recipe.eval_every == 0
        if due and (run.recipe.max_minutes is None or self._spent_s + self._cost(run) <= VALIDATION_SHARE * run.elapsed_s):
            self.validate(run)

    def finish(self, run: Run) -> CocoMetrics:
        """Return the numbers of the weights as they are now."""
        if run.validated is None or run.validated[0] != run.step:
            self.validate(run)
        assert run.validated is not None
        return run.validated[1]

    def validate(self, run: Run) -> None:
        """Evaluate, and keep the weights where they are the best so far."""
        begin = time.monotonic()
        with run.pause():
            metrics = self._evaluate(run.average.model)
        self._last_s = time.monotonic() - begin
        self._spent_s += self._last_s
        run.reserve_s = 1.2 * self._last_s
        run.validated = (run.step, metrics)
        if run.best is None or (metrics.ap or 0.0) > (run.best.metrics.ap or 0.0):
            run.stale = 0
            weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in run.average.model.state_dict().items()}
            run.best = Best(weights, metrics, epoch_position(run))
        else:
            run.stale += 1

    def _cost(self, run: Run) -> float:
        """Seconds of one evaluation: the last one's, or as if an image took as long as in training, where it is also differentiated."""
        return self._last_s if self._last_s is not None else self._images / max(run.images_per_s, 1e-9)


class Journal:
    """Tells how the training goes: progress at most once a second, losses about every 10 s, one line of history an epoch."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
        self._last_progress = 0.0
        self._last_metrics = time.monotonic()
        self._first_fraction: float | None = None

    def after_step(self, run: Run) -> None:
        now = time.monotonic()
        if self._first_fraction is None:
            self._first_fraction = run.fraction
        if now - self._last_progress >= PROGRESS_EVERY_S:
            self._last_progress = now
            left = self._seconds_left(run)
            self._events.progress(TRAINING_PART * run.fraction, progress_line(run, left), eta_s=left)
        if now - self._last_metrics >= METRICS_EVERY_S:
            self._last_metrics = now
            values: dict[str, float | None] = {**run.losses, **pace(run)}
            self._events.metric(values, step=run.step, epoch=epoch_position(run))

    def after_epoch(self, run: Run) -> None:
        self.record(run)

    def record(self, run: Run) -> None:
        """Write this epoch's line of history, or add the numbers on val to the line of this step."""
        scores: dict[str, float | None] = {}
        if run.validated is not None and run.validated[0] == run.step:
            scores = {"val_ap": run.validated[1].ap, "val_ap50": run.validated[1].ap50, "evaluations_since_best": run.stale}
        if run.history and run.history[-1]["step"] == run.step:
            values = {name: value for name, value in scores.items() if name not in run.history[-1]}
            run.history[-1] |= values
        else:
            balance = run.balance.figures() if run.balance is not None else {}
            values = {**epoch_means(run), **pace(run), **balance, **scores}
            run.history.append({"epoch": epoch_position(run), "step": run.step, **values})
        if values:
            self._last_metrics = time.monotonic()
            self._events.metric(values, step=run.step, epoch=epoch_position(run))

    def validating(self, run: Run, done: int, images: int) -> None:
        """Tell how far an evaluation on val is."""
        if time.monotonic() - self._last_progress >= PROGRESS_EVERY_S:
            self._last_progress = time.monotonic()
            self._events.progress(TRAINING_PART * run.fraction, f"evaluating on val, image {done} of {images}")

    def _seconds_left(self, run: Run) -> float | None:
        done = run.fraction - (self._first_fraction or 0.0)
        if done <= 0:
            return None
        return (time.monotonic() - run.started) * (1 - run.fraction) / done + run.reserve_s


class StateSaving:
    """Saves the resumable state every `state_every_s` seconds of the recipe, or more rarely where saving itself takes long."""

    def __init__(self, save: Callable[[Run], None]) -> None:
        self._save = save
        self._last = time.monotonic()
        self._took_s = 0.0

    def after_step(self, run: Run) -> None:
        if time.monotonic() - self._last >= max(run.recipe.state_every_s, self._took_s / SAVING_SHARE):
            self.save(run)

    def after_epoch(self, run: Run) -> None:
        """Nothing: the step before was the place, and an evaluation is repeated in seconds."""

    def save(self, run: Run) -> None:
        """Save now."""
        begin = time.monotonic()
        with run.pause():
            self._save(run)
        self._last = time.monotonic()
        self._took_s = self._last - begin


def pace(run: Run) -> dict[str, float]:
    """Return the learning rate of the next step, the images a second, and the share of the time that steps waited for images."""
    return {"lr": run.lr, "images_per_s": run.images_per_s, "waiting_share": run.waiting_share}


def epoch_position(run: Run) -> float:
    """Return how many epochs are done, parts of one included."""
    return round(run.step / run.steps_per_epoch, 4)


def progress_line(run: Run, seconds_left: float | None) -> str:
    """Return e.g. "epoch 4 of 12, 41 images/s, about 3 min left"."""
    by_steps = run.step / (run.recipe.epochs * run.steps_per_epoch)
    # Where the time limit will end the training, the number of epochs says nothing.
    of = f" of {run.recipe.epochs}" if by_steps >= run.fraction else ""
    words = [f"epoch {min(run.epoch + 1, run.recipe.epochs)}{of}", f"{run.images_per_s:.3g} images/s"]
    if seconds_left is not None:
        words.append(f"about {duration_in_words(seconds_left)} left")
    return ", ".join(words)


def duration_in_words(seconds: float) -> str:
    """Return seconds under 90 s, minutes under 90 min, else hours: e.g. "40 s", "3 min", "2 h"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
