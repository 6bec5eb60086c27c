"""One run of a measurement: warm up to a steady state, then record (docs/protocol.md, "One run")."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from detection_core.benchmark.clock import Clock, wall_clock
from detection_core.benchmark.telemetry import Reading
from detection_core.catalogue.specs import DurationRule

Query = Callable[[int], dict[str, int]]
SECOND = 1_000_000_000
PROGRESS_EVERY_NS = SECOND


@dataclass(frozen=True)
class WarmupRule:
    """When a run is warm: after `min_iterations` and `min_seconds`, once the last `windows` windows agree.

    A window holds `window_iterations` and `window_seconds`, whichever takes longer. Windows agree when neither their
    median latency nor their throughput differs by more than the factor `tolerance`. After `max_windows`, or when
    `limit_s` is spent, the run goes on without a steady state. A detector too slow for this gets shorter phases: the
    first ends at the latest after a quarter of `limit_s`, a window after an eighth.
    """

    min_iterations: int
    min_seconds: float
    window_iterations: int
    window_seconds: float
    tolerance: float
    limit_s: float
    windows: int = 3
    max_windows: int = 10


WARMUPS: dict[str, WarmupRule] = {
    # A quick run has 20 s in all: its windows are short, so they may differ by 10% (the rule of Triton's perf_analyzer).
    "quick": WarmupRule(min_iterations=10, min_seconds=1.0, window_iterations=10, window_seconds=0.7, tolerance=1.10, limit_s=8.0),
    "standard": WarmupRule(min_iterations=50, min_seconds=3.0, window_iterations=100, window_seconds=2.0, tolerance=1.05, limit_s=24.0),
    "full": WarmupRule(min_iterations=50, min_seconds=3.0, window_iterations=100, window_seconds=2.0, tolerance=1.05, limit_s=240.0),
}


@dataclass
class Samples:
    """Raw samples in the order they were taken, as columns; times in ns, offsets from the start of the run."""

    image: list[int] = field(default_factory=list)
    offset_ns: list[int] = field(default_factory=list)
    outer_ns: list[int] = field(default_factory=list)
    stages_ns: dict[str, list[int]] = field(default_factory=dict)

    def add(self, image: int, offset_ns: int, outer_ns: int, stages_ns: dict[str, int]) -> None:
        """Append one sample."""
        self.image.append(image)
        self.offset_ns.append(offset_ns)
        self.outer_ns.append(outer_ns)
        for stage, duration in stages_ns.items():
            self.stages_ns.setdefault(stage, []).append(duration)


@dataclass
class RunRecord:
    """All that one run saw. The first `warmup_samples` of `samples` are warm-up and count for no figure.

    `stage_pass` holds the stages where they need a pass of their own (CUDA); elsewhere the stages stand in `samples`.
    `recorded_ns` is the begin and end of the recorded part on the run's clock.
    """

    run: int
    warmup_samples: int
    steady: bool
    windows: list[dict[str, float]]
    recorded_ns: tuple[int, int]
    samples: Samples
    stage_pass: Samples | None = None
    enough_samples: bool = True
    telemetry: list[Reading] = field(default_factory=list)
    flags: tuple[str, ...] = ()

    def recorded(self) -> np.ndarray:
        """Return the counted end-to-end times, int64 ns in the order taken."""
        return np.asarray(self.samples.outer_ns[self.warmup_samples :], dtype=np.int64)

    def stage_samples(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the end-to-end times and the stage times of the samples whose stages were timed."""
        source, first = (self.samples, self.warmup_samples) if self.stage_pass is None else (self.stage_pass, 0)
        stages = {stage: np.asarray(times[first:], dtype=np.int64) for stage, times in source.stages_ns.items()}
        return np.asarray(source.outer_ns[first:], dtype=np.int64), stages

    def readings_inside(self) -> list[Reading]:
        """Return the telemetry of the recorded part; `measure` had the first and the last of it taken at its two ends."""
        begin, end = self.recorded_ns
        return [reading for reading in self.telemetry if begin <= reading.offset_ns <= end]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunRecord:
        """Undo `to_dict`."""
        stage_pass = data["stage_pass"]
        return cls(
            **data
            | {
                "recorded_ns": tuple(data["recorded_ns"]),
                "flags": tuple(data["flags"]),
                "telemetry": [Reading(**reading) for reading in data["telemetry"]],
                "samples": Samples(**data["samples"]),
                "stage_pass": Samples(**stage_pass) if stage_pass else None,
            }
        )


@dataclass
class _Run:
    """A run in progress: its image order, clock and samples."""

    query: Query
    order: Iterator[int]
    clock: Clock
    start_ns: int
    samples: Samples

    def elapsed_s(self) -> float:
        return (self.clock() - self.start_ns) / SECOND

    def step(self) -> int:
        """Ask for the next image and wait for its answer; returns the end-to-end time in ns."""
        image = next(self.order)
        begin = self.clock()
        stages = self.query(image)
        outer = self.clock() - begin
        self.samples.add(image, begin - self.start_ns, outer, stages)
        return outer


def image_order(images: int, seed: int) -> Iterator[int]:
    """Yield image indices for ever: one seeded shuffle of all `images`, over and over."""
    order = np.random.default_rng(seed).permutation(images).tolist()
    while True:
        yield from order


def measure(
    query: Query,
    rule: DurationRule,
    *,
    images: int,
    seed: int = 0,
    run: int = 0,
    warmup: WarmupRule | None = None,
    clock: Clock = wall_clock,
    start_ns: int | None = None,
    stage_query: Query | None = None,
    read_telemetry: Callable[[], None] = lambda: None,
    on_progress: Callable[[float, float | None], None] = lambda fraction, eta_s: None,
) -> RunRecord:
    """Time `query` in single stream: the next image when the previous answer is complete.

    The run lasts until `rule.min_samples` and `rule.min_seconds` are reached, and never past `rule.max_seconds`, warm-up
    included; fewer samples than asked for are marked, not an error.

    Args:
        query: takes an image index in 0..images-1, returns the durations of its stages in ns (or {} where stages get a pass
            of their own).
        warmup: the rule of the duration's name by default.
        stage_query: times the stages in a second pass of at most 100 images, where stage clocks would disturb the headline.
        start_ns: reading of `clock` from which the run's time and all offsets count; now by default.
        read_telemetry: called at the very begin and at the very end of the recorded part.
        on_progress: called about once a second, between two samples, with the fraction done and the seconds left; may raise to stop.
    """
    state = _Run(query, image_order(images, seed + run), clock, clock() if start_ns is None else start_ns, Samples())
    notify = _every_second(clock, on_progress)
    warmup = warmup or WARMUPS[rule.name]
    steady, windows = _warm_up(state, warmup, lambda: notify(0.3 * state.elapsed_s() / warmup.limit_s, None))
    warm = len(state.samples.outer_ns)
    begin = clock()
    read_telemetry()
    enough = _record(state, rule, clock(), notify)
    read_telemetry()
    end = clock()
    stage_pass = _stage_pass(stage_query, state, images) if stage_query else None
    return RunRecord(
        run=run,
        warmup_samples=warm,
        steady=steady,
        windows=windows,
        recorded_ns=(begin - state.start_ns, end - state.start_ns),
        samples=state.samples,
        stage_pass=stage_pass,
        enough_samples=enough,
    )


def _warm_up(state: _Run, rule: WarmupRule, tell: Callable[[], None]) -> tuple[bool, list[dict[str, float]]]:
    _take(state, rule.min_iterations, rule.min_seconds, rule.limit_s / 4, tell)
    windows: list[dict[str, float]] = []
    while len(windows) < rule.max_windows and state.elapsed_s() < rule.limit_s:
        limit_s = min(rule.limit_s / 8, rule.limit_s - state.elapsed_s())
        window = _take(state, rule.window_iterations, rule.window_seconds, limit_s, tell)
        windows.append(window)
        if len(windows) >= rule.windows and _agree(windows[-rule.windows :], rule.tolerance):
            return True, windows
    return False, windows


def _take(state: _Run, iterations: int, seconds: float, limit_s: float, tell: Callable[[], None]) -> dict[str, float]:
    """Take at least `iterations` and `seconds`, at most `limit_s`; returns what a window is judged by."""
    begin, taken = state.elapsed_s(), []
    while True:
        taken.append(state.step())
        tell()
        spent = state.elapsed_s() - begin
        if (len(taken) >= iterations and spent >= seconds) or spent >= limit_s:
            return {"samples": len(taken), "median_ms": statistics.median(taken) / 1e6, "per_s": len(taken) / sum(taken) * SECOND}


def _agree(windows: list[dict[str, float]], tolerance: float) -> bool:
    def spread(figure: str) -> float:
        values = [window[figure] for window in windows]
        return max(values) / min(values)

    return spread("median_ms") <= tolerance and spread("per_s") <= tolerance


def _record(state: _Run, rule: DurationRule, begin: int, notify: Callable[[float, float | None], None]) -> bool:
    """Record until the rule is met (True) or its time is over (False)."""
    taken = 0
    while True:
        state.step()
        taken += 1
        spent = (state.clock() - begin) / SECOND
        if taken >= rule.min_samples and spent >= rule.min_seconds:
            return True
        left_at_most = rule.max_seconds - state.elapsed_s()
        if left_at_most <= 0:
            return taken >= rule.min_samples
        done = min(taken / rule.min_samples, spent / rule.min_seconds)
        left = max(rule.min_seconds - spent, (rule.min_samples - taken) * spent / taken)
        notify(0.3 + 0.7 * done, min(left, left_at_most))


def _stage_pass(query: Query, state: _Run, images: int) -> Samples:
    second = _Run(query, state.order, state.clock, state.start_ns, Samples())
    for _ in range(max(30, min(100, images))):
        second.step()
    return second.samples


def _every_second(clock: Clock, tell: Callable[[float, float | None], None]) -> Callable[[float, float | None], None]:
    last = clock()

    def notify(fraction: float, eta_s: float | None) -> None:
        nonlocal last
        if clock() - last >= PROGRESS_EVERY_NS:
            last = clock()
            tell(min(max(fraction, 0.0), 1.0), eta_s)

    return notify
