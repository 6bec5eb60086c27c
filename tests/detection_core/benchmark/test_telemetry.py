"""The sampler, on the machine it runs on."""

from __future__ import annotations

import time

from detection_core.benchmark.clock import clock_step_ns
from detection_core.benchmark.telemetry import Telemetry, cpu_clock


def test_counters_only_rise_and_own_time_is_part_of_busy_time():
    with Telemetry(read_gpu=lambda: {"sm_mhz": 1000}) as telemetry:
        telemetry.read()
        end = time.process_time() + 0.15
        while time.process_time() < end:
            pass
        telemetry.read()
    first, last = telemetry.readings[0], telemetry.readings[-1]
    assert last.offset_ns > first.offset_ns
    assert last.own_s - first.own_s >= 0.1
    assert last.total_s > first.total_s
    assert last.busy_s >= first.busy_s
    assert last.gpu == {"sm_mhz": 1000}


def test_the_clock_shown_is_that_of_the_fastest_core(tmp_path):
    for core, khz in enumerate((800_000, 3_100_000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(str(khz))
        (folder / "cpuinfo_max_freq").write_text("4000000")
    assert cpu_clock(tmp_path) == (3100.0, 4000.0)
    assert cpu_clock(tmp_path / "nothing") == (None, None)


def test_the_step_of_a_clock_is_its_smallest_movement():
    ticks = iter([0, 0, 0, 100] * 1000)
    state = {"now": 0}

    def coarse():
        state["now"] += next(ticks)
        return state["now"]

    assert clock_step_ns(coarse, tries=5) == 100
    assert 0 < clock_step_ns() < 1_000_000
