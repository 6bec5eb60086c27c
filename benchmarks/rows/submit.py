"""How soon an idle worker starts a job that was just submitted, by the database's clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.row import Arm, Mark, Options, Row


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open the one arm; each round submits a probe, a light job, and waits for its end."""
    stack = options.stack

    def seconds() -> float:
        job = stack.client.submit_job({"kind": "probe"}, title="bench")
        stack.client.wait(job.uuid, every_s=0.2)
        return stack.seconds_to_start(job)

    seconds()  # the first one may wait for the worker's own start
    yield {"submit": seconds}


ROW = Row(name="submit", what="submission of a job to its start on an idle worker", unit="s", mark=Mark("median", 1), arms=arms, rounds=10)
