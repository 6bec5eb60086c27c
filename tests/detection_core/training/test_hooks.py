"""What hooks decide: when to validate, what to tell, when to save."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CocoMetrics
from detection_core.training import hooks, loop
from detection_core.training.hooks import Journal, StateSaving, Validation, duration_in_words, progress_line
from detection_core.training.loop import Run


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


class Notes:
    """An event writer that remembers."""

    def __init__(self):
        self.progresses, self.metrics = [], []

    def progress(self, fraction, message, *, eta_s=None):
        self.progresses.append((fraction, message, eta_s))

    def metric(self, values, *, step, epoch=None):
        self.metrics.append((step, epoch, values))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(hooks, "time", clock)
    monkeypatch.setattr(loop, "time", clock)
    return clock


def run_of(clock, *, steps_per_epoch=10, **recipe) -> Run:
    model = torch.nn.Linear(1, 1)
    run = Run(None, model, SimpleNamespace(model=model), None, Recipe(**recipe), steps_per_epoch)
    run.started = clock.now
    return run


def advance(run, clock, steps, seconds, images_a_step=8):
    run.step += steps
    run.epoch, run.step_in_epoch = divmod(run.step, run.steps_per_epoch)
    run.images += steps * images_a_step
    clock.now += seconds
    run.losses = {"loss": 2.0, "part": 2.0}
    run.epoch_sums = {"loss": 2.0 * max(run.step_in_epoch, 1), "part": 2.0 * max(run.step_in_epoch, 1)}


def numbers(ap):
    return CocoMetrics(**dict.fromkeys(CocoMetrics.model_fields) | {"ap": ap, "ap50": ap})


def test_validation_without_a_time_limit_follows_eval_every(clock):
    run = run_of(clock, epochs=6, eval_every=2)
    seen = []
    validation = Validation(lambda model: seen.append(run.epoch) or numbers(0.1), images=5)
    for run.epoch in range(6):
        validation.after_epoch(run)
    assert seen == [1, 3, 5]


def test_validation_under_a_time_limit_takes_at_most_its_share(clock):
    run = run_of(clock, epochs=1000, max_minutes=10)
    spent = 0.0

    def evaluate(model):
        nonlocal spent
        clock.now += 12
        spent += 12
        return numbers(0.1)

    validation = Validation(evaluate, images=20)
    while run.ended is None:
        advance(run, clock, steps=10, seconds=10)
        validation.after_step(run)
        validation.after_epoch(run)
    assert 0 < spent <= hooks.VALIDATION_SHARE * 600
    assert clock.now - 1000 + run.reserve_s <= 600 + 22, "the last evaluation fits into the limit"


def test_the_best_weights_are_those_of_the_highest_ap_and_a_copy(clock):
    run = run_of(clock, epochs=3)
    answers = iter([0.2, 0.5, 0.3])
    validation = Validation(lambda model: numbers(next(answers)), images=5)
    for value in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(run.model.weight, value)
        run.step += 10
        validation.validate(run)
    assert run.best.metrics.ap == 0.5 and run.best.epoch == 2.0
    assert run.best.weights["weight"].item() == 2.0


def test_the_last_weights_are_validated_once(clock):
    run = run_of(clock, epochs=1)
    calls = []
    validation = Validation(lambda model: calls.append(1) or numbers(0.4), images=5)
    run.step = 10
    validation.after_epoch(run)
    assert validation.finish(run).ap == 0.4 and len(calls) == 1
    run.step = 11
    validation.finish(run)
    assert len(calls) == 2


def test_progress_is_told_at_most_once_a_second_with_the_time_left(clock):
    run, notes = run_of(clock, epochs=12), Notes()
    journal = Journal(notes)
    for _ in range(40):
        advance(run, clock, steps=1, seconds=0.25)
        journal.after_step(run)
    assert 10 <= len(notes.progresses) <= 11
    fraction, message, eta_s = notes.progresses[-1]
    assert message.startswith("epoch 4 of 12, 32 images/s, about ")
    assert 0.2 < fraction < 0.4 and 15 < eta_s < 30


def test_losses_are_told_every_ten_seconds_and_history_gets_one_line_an_epoch(clock):
    run, notes = run_of(clock, epochs=12), Notes()
    journal = Journal(notes)
    for _ in range(9):
        advance(run, clock, steps=1, seconds=2.5)
        journal.after_step(run)
    assert [step for step, _, _ in notes.metrics] == [4, 8]
    run.validated = (run.step, numbers(0.25))
    journal.record(run)
    journal.record(run)
    assert len(run.history) == 1
    assert run.history[0] | {"lr": None, "images_per_s": None, "waiting_share": None} == {
        "epoch": 0.9, "step": 9, "loss": 2.0, "part": 2.0, "lr": None, "images_per_s": None, "waiting_share": None,
        "val_ap": 0.25, "val_ap50": 0.25, "evaluations_since_best": 0,
    }  # fmt: skip


def test_the_number_of_epochs_is_left_out_where_the_time_limit_ends_the_training(clock):
    run = run_of(clock, epochs=1000, max_minutes=1)
    advance(run, clock, steps=15, seconds=20)
    assert progress_line(run, 40.0) == "epoch 2, 6 images/s, about 40 s left"


def test_numbers_that_come_after_the_epochs_line_are_added_to_it(clock):
    run, notes = run_of(clock, epochs=12), Notes()
    journal = Journal(notes)
    advance(run, clock, steps=9, seconds=20)
    journal.record(run)
    run.epoch_sums = {}
    run.validated = (run.step, numbers(0.25))
    journal.record(run)
    assert len(run.history) == 1 and run.history[0]["loss"] == 2.0 and run.history[0]["val_ap"] == 0.25
    assert notes.metrics[-1] == (9, 0.9, {"val_ap": 0.25, "val_ap50": 0.25, "evaluations_since_best": 0})


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (185, "3 min"), (7300, "2 h")])
def test_durations_are_told_in_words(seconds, words):
    assert duration_in_words(seconds) == words


def test_the_state_is_saved_after_its_interval_and_more_rarely_when_saving_is_slow(clock):
    run = run_of(clock, epochs=1000, state_every_s=30)
    saved = []

    def save(_):
        saved.append(clock.now - 1000)
        clock.now += 6

    saving = StateSaving(save)
    while clock.now < 1150:
        clock.now += 1
        saving.after_step(run)
    assert saved == [30, 96]
