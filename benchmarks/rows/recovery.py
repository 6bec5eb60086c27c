"""How soon a training runs again after its child, or its worker, was killed with kill -9."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from benchmarks.row import Arm, Mark, Options, Row
from benchmarks.stack import Stack


def _seconds_to_run_again(stack: Stack, process: psutil.Process | None) -> float:
    if process is None:
        raise RuntimeError("there is nothing to kill: the job does not run")
    job = next(job for job in stack.client.jobs(state="running") if job.kind == "train")
    attempt = stack.attempt(job)
    began = time.monotonic()
    process.kill()
    return stack.await_running(job, more_than_attempt=attempt) - began


@contextmanager
def _training(options: Options) -> Iterator[Stack]:
    job = options.stack.start_training()
    options.stack.await_running(job)
    options.stack.await_learning(job)
    try:
        yield options.stack
    finally:
        options.stack.cancel(job)


@contextmanager
def child_arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open the arm that kills the child."""
    with _training(options) as stack:
        yield {"child": lambda: _seconds_to_run_again(stack, stack.child())}


@contextmanager
def worker_arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open the arm that kills the worker; the supervisor starts it again."""
    with _training(options) as stack:
        yield {"worker": lambda: _seconds_to_run_again(stack, stack.worker())}


# Fewer rounds than a job has attempts (MAX_ATTEMPTS): a job that is lost too often fails.
CHILD = Row(
    name="recover-child",
    what="kill -9 of a training's process to its next attempt running",
    unit="s",
    mark=Mark("median", 10),
    arms=child_arms,
    rounds=3,
    quick_rounds=2,
)
WORKER = Row(
    name="recover-worker",
    what="kill -9 of the worker to its job running again",
    unit="s",
    mark=Mark("median", 30),
    arms=worker_arms,
    rounds=3,
    quick_rounds=2,
)
