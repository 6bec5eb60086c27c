"""Whether a run may be trusted: flags, never failures (docs/protocol.md, "Flags")."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from detection_core.benchmark.runner import RunRecord
from detection_core.benchmark.statistics import spearman
from detection_core.benchmark.telemetry import Reading
from detection_core.catalogue.flags import FLAGS

FOREIGN_SHARE = 0.05
STEAL_SHARE = 0.01
DRIFT_RHO = 0.3
DRIFT_CHANGE = 0.05
DRIFT_BLOCKS = 20
SLOW_CLOCK = 0.6
STAGES_GAP = 0.05
# NVML's bits for power cap, slowdown by hardware, heat seen by software, heat seen by hardware, external power brake.
NVML_HELD_BACK = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def run_flags(record: RunRecord) -> tuple[str, ...]:
    """Return the flags of one run in the order of the catalogue."""
    inside = record.readings_inside()
    found = {
        "unstable": not record.steady,
        "too_few_samples": not record.enough_samples,
        "disturbed": foreign_share(inside) > FOREIGN_SHARE,
        "steal": steal_share(inside) > STEAL_SHARE,
        "drift": drifts(record.recorded()),
        "throttled": throttled(inside),
        "stages_disagree": stages_gap(record) > STAGES_GAP,
    }
    return tuple(flag for flag in FLAGS if found[flag])


def foreign_share(readings: Sequence[Reading]) -> float:
    """Return the share 0..1 of the machine's processor time that processes other than ours used."""
    if len(readings) < 2:
        return 0.0
    first, last = readings[0], readings[-1]
    foreign = (last.busy_s - first.busy_s) - (last.own_s - first.own_s)
    return max(0.0, foreign / max(last.total_s - first.total_s, 1e-9))


def steal_share(readings: Sequence[Reading]) -> float:
    """Return the share 0..1 of processor time that the host of a virtual machine gave to others."""
    if len(readings) < 2:
        return 0.0
    first, last = readings[0], readings[-1]
    return (last.steal_s - first.steal_s) / max(last.total_s - first.total_s, 1e-9)


def drifts(latencies: np.ndarray) -> bool:
    """Tell whether latency rises or falls in the course of a run.

    The samples are cut into 20 blocks. It drifts when the rank correlation of block number and block median is at least 0.3
    and the medians of the first and the last third differ by more than 5%. The second condition is needed because 20
    blocks of pure noise pass the first one time in five.
    """
    if len(latencies) < DRIFT_BLOCKS:
        return False
    medians = np.array([np.median(block) for block in np.array_split(latencies, DRIFT_BLOCKS)])
    third = len(latencies) // 3
    first, last = np.median(latencies[:third]), np.median(latencies[-third:])
    return abs(spearman(medians)) >= DRIFT_RHO and max(first, last) > (1 + DRIFT_CHANGE) * min(first, last)


def throttled(readings: Sequence[Reading]) -> bool:
    """Tell whether the fastest core stayed under 60% of its clock for most readings, or NVML named a reason in any."""
    clocks = [r.cpu_mhz / r.cpu_max_mhz for r in readings if r.cpu_mhz and r.cpu_max_mhz]
    slow_cpu = bool(clocks) and float(np.median(clocks)) < SLOW_CLOCK
    return slow_cpu or any((r.gpu.get("slow_reasons") or 0) & NVML_HELD_BACK for r in readings if r.gpu)


def stages_gap(record: RunRecord) -> float:
    """Return how far the sum of all stages is from the outer clock, as a share of the latter; 0.0 without stages."""
    outer, stages = record.stage_samples()
    if not stages:
        return 0.0
    whole = float(outer.sum())
    return abs(whole - float(sum(times.sum() for times in stages.values()))) / whole


def load_series(readings: Sequence[Reading]) -> list[dict[str, float]]:
    """Return the foreign and the own share of the machine between each two readings."""
    series = []
    for before, after in pairwise(readings):
        total = max(after.total_s - before.total_s, 1e-9)
        series.append(
            {
                "offset_s": round(after.offset_ns / 1e9, 3),
                "foreign": round(foreign_share((before, after)), 4),
                "own": round((after.own_s - before.own_s) / total, 4),
                "steal": round(steal_share((before, after)), 4),
            }
        )
    return series
