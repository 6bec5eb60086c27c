"""Each flag has a run that raises it and one that does not."""

from __future__ import annotations

import random

import numpy as np
import pytest

from detection_core.benchmark.validity import drifts, foreign_share, load_series, run_flags, throttled
from detection_core.catalogue.flags import FLAGS
from tests.detection_core.benchmark.fakes import FakeClock, FakeQuery, readings, record_of


def noise(count=500, centre=10.0, seed=0):
    rng = random.Random(seed)
    return [centre + rng.gauss(0, 0.2) for _ in range(count)]


def test_a_quiet_steady_run_has_no_flag():
    assert run_flags(record_of(noise(), telemetry=readings(own=0.5, foreign=0.01))) == ()


def test_a_run_without_a_steady_state_is_unstable():
    assert run_flags(record_of(noise(), steady=False)) == ("unstable",)


def test_a_run_that_ran_out_of_time_has_too_few_samples():
    assert run_flags(record_of(noise(), enough=False)) == ("too_few_samples",)


def test_six_percent_of_the_machine_used_by_others_disturbs_and_four_do_not():
    assert run_flags(record_of(noise(), telemetry=readings(foreign=0.06))) == ("disturbed",)
    assert run_flags(record_of(noise(), telemetry=readings(foreign=0.04))) == ()


def test_our_own_load_however_high_does_not_disturb():
    assert run_flags(record_of(noise(), telemetry=readings(own=1.0))) == ()


def test_time_stolen_by_the_host_is_counted_apart_from_other_processes():
    assert run_flags(record_of(noise(), telemetry=readings(steal=0.02))) == ("steal",)
    assert run_flags(record_of(noise(), telemetry=readings(steal=0.005))) == ()


def test_load_during_the_warm_up_does_not_count():
    busy = readings(seconds=3.0, foreign=0.9)
    quiet = readings(seconds=5.0, after=busy[-1])
    record = record_of(noise(), warmup_ms=[3000.0], telemetry=[*busy, *quiet[1:]])
    assert foreign_share(record.telemetry) > 0.3
    assert run_flags(record) == ()


@pytest.mark.parametrize("direction", [1, -1])
def test_latency_that_rises_or_falls_drifts(direction):
    latencies = [value * (1 + direction * 0.15 * index / 500) for index, value in enumerate(noise())]
    assert run_flags(record_of(latencies)) == ("drift",)


def test_a_trend_too_small_to_matter_does_not_drift():
    assert not drifts(np.array([value * (1 + 0.02 * index / 500) for index, value in enumerate(noise())]))


def test_noise_alone_almost_never_drifts():
    assert sum(drifts(np.array(noise(200, seed=seed))) for seed in range(200)) <= 2


def test_a_few_slow_samples_at_the_end_are_a_tail_and_no_drift():
    assert not drifts(np.array([*noise(490), *[40.0] * 10]))


def test_a_processor_far_below_its_clock_is_throttled():
    assert run_flags(record_of(noise(), telemetry=readings(cpu_mhz=1200.0, cpu_max_mhz=4000.0))) == ("throttled",)
    assert run_flags(record_of(noise(), telemetry=readings(cpu_mhz=3600.0, cpu_max_mhz=4000.0))) == ()


@pytest.mark.parametrize(
    ("reasons", "flagged"), [(0x0, False), (0x1, False), (0x2, False), (0x4, True), (0x20, True), (0x40, True), (0x80, True)]
)
def test_an_accelerator_held_back_by_heat_or_power_is_throttled_and_an_idle_one_is_not(reasons, flagged):
    assert throttled(readings(gpu={"slow_reasons": reasons})) == flagged


def test_a_machine_that_shows_no_clocks_is_not_called_throttled():
    assert not throttled(readings(gpu={"slow_reasons": None}))


def test_stages_that_miss_a_part_of_the_time_are_noticed():
    clock = FakeClock()
    record = record_of(noise())
    query = FakeQuery(clock, lambda n: 10, untimed=0.06)
    record.samples.stages_ns = {"forward": [sum(query(0).values()) for _ in record.samples.outer_ns]}
    assert run_flags(record) == ("stages_disagree",)


def test_flags_come_in_the_order_of_the_catalogue():
    record = record_of(noise(), telemetry=readings(foreign=0.2, steal=0.2), steady=False, enough=False)
    assert run_flags(record) == tuple(flag for flag in FLAGS if flag in ("unstable", "too_few_samples", "disturbed", "steal"))


def test_the_load_is_kept_as_a_series():
    series = load_series(readings(seconds=2.0, foreign=0.1, own=0.5))
    assert [entry["offset_s"] for entry in series] == [0.5, 1.0, 1.5, 2.0]
    assert {entry["foreign"] for entry in series} == {0.1}


def test_no_reading_gives_no_verdict():
    assert foreign_share([]) == 0
