"""What can be wrong with a latency measurement. A flagged one is shown, never on a front (docs/protocol.md)."""

from __future__ import annotations

FLAGS: dict[str, str] = {
    "unstable": "the warm-up ended before three windows in a row agreed in median latency and throughput",
    "too_few_samples": "the time was over before the number of samples that the duration asks for",
    "disturbed": "other processes used more than 5% of the machine while it was measured",
    "steal": "the host of this virtual machine took more than 1% of its processor time while it was measured",
    "drift": "latency rose or fell in the course of a run, by rank correlation and by more than 5%",
    "throttled": "the processor or accelerator ran far below its clock, or said that heat or power held it back",
    "stages_disagree": "the sum of the stages differs from the outer clock by more than 5%",
}
