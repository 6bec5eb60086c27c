"""Scenarios and durations of latency measurements (docs/protocol.md)."""

from __future__ import annotations

from detection_core.catalogue.specs import DurationRule, ScenarioEntry

SCENARIOS: dict[str, ScenarioEntry] = {
    "single_stream": ScenarioEntry(
        name="single_stream",
        title="Single stream",
        arrival="the next image when the previous answer is complete",
        figure="end-to-end latency of one image: p50 with p95",
    ),
}

DURATIONS: dict[str, DurationRule] = {
    "quick": DurationRule(name="quick", runs=1, min_samples=100, min_seconds=5.0, max_seconds=20.0),
    "standard": DurationRule(name="standard", runs=3, min_samples=300, min_seconds=5.0, max_seconds=60.0),
    "full": DurationRule(name="full", runs=5, min_samples=1000, min_seconds=10.0, max_seconds=600.0),
}
