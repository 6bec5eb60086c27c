"""What the machine did while it was measured: load, steal, clocks, heat."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from detection_core.benchmark.clock import Clock, wall_clock

INTERVAL_S = 0.5
SENSORS_EVERY = 4  # clocks and heat are read on every 4th reading: on a machine of many cores they take milliseconds
CPUFREQ = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Reading:
    """Counters at one moment. `busy_s`, `steal_s` and `total_s` are processor seconds summed over all cores since boot,
    `own_s` those of this process and its finished children. The rest is None where it was not read or cannot be."""

    offset_ns: int
    busy_s: float
    steal_s: float
    total_s: float
    own_s: float
    cpu_mhz: float | None = None
    cpu_max_mhz: float | None = None
    temperature_c: float | None = None
    gpu: dict[str, Any] | None = None


class Telemetry:
    """Reads the machine every half second from a light thread, from entering the block to leaving it.

    Args:
        clock: the run's clock.
        start_ns: reading of `clock` from which `offset_ns` counts; now by default.
        read_gpu: returns an accelerator's readings, None on a CPU.
    """

    def __init__(
        self, *, clock: Clock = wall_clock, start_ns: int | None = None, read_gpu: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.readings: list[Reading] = []
        self._clock = clock
        self._read_gpu = read_gpu
        self._start_ns = clock() if start_ns is None else start_ns
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="telemetry", daemon=True)

    def __enter__(self) -> Telemetry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def read(self, *, sensors: bool = True) -> None:
        """Take one reading now."""
        with self._lock:
            self.readings.append(self._reading(sensors))

    def _loop(self) -> None:
        count = 0
        while not self._ended.wait(INTERVAL_S):
            count += 1
            self.read(sensors=count % SENSORS_EVERY == 0)

    def _reading(self, sensors: bool) -> Reading:
        times = psutil.cpu_times()
        own = os.times()
        total = sum(times[:8])  # the fields after the eighth (guest) are counted in the first two already
        steal = getattr(times, "steal", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        extra: dict[str, Any] = {}
        if sensors:
            mhz, max_mhz = cpu_clock()
            extra = {"cpu_mhz": mhz, "cpu_max_mhz": max_mhz, "temperature_c": hottest()}
        return Reading(
            offset_ns=self._clock() - self._start_ns,
            busy_s=total - idle - steal,
            steal_s=steal,
            total_s=total,
            own_s=own.user + own.system + own.children_user + own.children_system,
            gpu=self._read_gpu() if self._read_gpu else None,
            **extra,
        )


def cpu_clock(root: Path = CPUFREQ) -> tuple[float | None, float | None]:
    """Return the clock of the fastest core now and the highest it can have, in MHz; (None, None) where the kernel shows neither.

    The fastest core, because idle cores slow down and the one that works is not known.
    """
    return _highest(root, "scaling_cur_freq"), _highest(root, "cpuinfo_max_freq")


def _highest(root: Path, name: str) -> float | None:
    values = []
    for path in root.glob(f"cpu[0-9]*/cpufreq/{name}"):
        try:
            values.append(float(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(values, default=None)


def hottest() -> float | None:
    """Return the highest temperature that the machine shows, in degrees Celsius."""
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return None
    found = [sensor.current for sensors in read().values() for sensor in sensors if sensor.current is not None]
    return max(found, default=None)


def gpu_reader(handle: Any) -> Callable[[], dict[str, Any]]:
    """Return a function that reads clock, heat, power and the reasons for a low clock of one device through NVML."""
    import pynvml

    def value(read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(handle, *arguments)
        except pynvml.NVMLError:
            return None

    def read() -> dict[str, Any]:
        return {
            "sm_mhz": value(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
            "temperature_c": value(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
            "power_mw": value(pynvml.nvmlDeviceGetPowerUsage),
            "slow_reasons": value(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons),
        }

    return read
