"""How soon a running training is gone after its cancel was asked for: state cancelled, no process left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.row import Arm, Mark, Options, Row


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open the one arm; each round has a training of its own."""
    stack = options.stack

    def seconds() -> float:
        job = stack.start_training()
        stack.await_running(job)
        stack.await_learning(job)
        return stack.cancel(job)

    yield {"cancel": seconds}


ROW = Row(
    name="cancel", what="cancel of a running training to its end", unit="s", mark=Mark("median", 10), arms=arms, rounds=3, quick_rounds=2
)
