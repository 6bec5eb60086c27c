"""A clock that only moves when it is told to, and a query that takes as long as it is told."""

from __future__ import annotations

from collections.abc import Callable

from detection_core.benchmark.runner import RunRecord, Samples
from detection_core.benchmark.telemetry import Reading

MS = 1_000_000


class FakeClock:
    """Nanoseconds that pass only through `advance`."""

    def __init__(self) -> None:
        self.now = 12_345

    def __call__(self) -> int:
        return self.now

    def advance(self, ns: float) -> None:
        self.now += int(ns)


class FakeQuery:
    """Answers after `latency_ms(n)`, n counting the calls from 0; a quarter is preprocess, the rest forward."""

    def __init__(self, clock: FakeClock, latency_ms: Callable[[int], float], *, untimed: float = 0.0) -> None:
        self.clock, self.latency_ms, self.untimed = clock, latency_ms, untimed
        self.images: list[int] = []

    def __call__(self, image: int) -> dict[str, int]:
        ns = round(self.latency_ms(len(self.images)) * MS)
        self.images.append(image)
        self.clock.advance(ns)
        timed = round(ns * (1 - self.untimed))
        return {"preprocess": timed // 4, "forward": timed - timed // 4}


def record_of(latencies_ms, *, warmup_ms=(), telemetry=(), steady=True, enough=True, run=0) -> RunRecord:
    """A finished run with these latencies, one after the other."""
    samples, offset = Samples(), 0
    for number, latency in enumerate([*warmup_ms, *latencies_ms]):
        ns = round(latency * MS)
        samples.add(number % 7, offset, ns, {"forward": ns})
        offset += ns
    begin = round(sum(warmup_ms) * MS)
    return RunRecord(
        run=run,
        warmup_samples=len(warmup_ms),
        steady=steady,
        windows=[],
        recorded_ns=(begin, offset),
        samples=samples,
        enough_samples=enough,
        telemetry=list(telemetry),
    )


def readings(*, seconds=5.0, cores=2, own=0.5, foreign=0.0, steal=0.0, after: Reading | None = None, **sensors) -> list[Reading]:
    """Readings every half second of a machine whose processor time is shared out as told (shares of all cores), from now or
    going on from another reading."""
    base = after or Reading(offset_ns=0, busy_s=100.0, steal_s=7.0, total_s=1000.0, own_s=50.0)
    found = []
    for step in range(int(seconds / 0.5) + 1):
        total = step * 0.5 * cores
        found.append(
            Reading(
                offset_ns=base.offset_ns + round(step * 0.5e9),
                busy_s=base.busy_s + total * (own + foreign),
                steal_s=base.steal_s + total * steal,
                total_s=base.total_s + total,
                own_s=base.own_s + total * own,
                **sensors,
            )
        )
    return found
