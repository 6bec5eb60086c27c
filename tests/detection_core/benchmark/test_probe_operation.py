"""The probe."""

from __future__ import annotations

from detection_core.backends.registry import BACKENDS
from detection_core.benchmark.environment import environment_record
from detection_core.operations import probe
from detection_core.schemas.results import ProbeResult
from detection_core.schemas.specs import ProbeSpec


def test_the_probe_tells_the_machine_and_every_backend(job):
    result = probe.run(ProbeSpec(), job)
    assert [ability.name for ability in result.backends] == list(BACKENDS)
    assert "cpu" in next(ability for ability in result.backends if ability.name == "eager").devices
    assert ProbeResult.parse(result.to_json()) == result


def test_a_machine_keeps_one_hash_through_probe_and_measurement(job):
    found = probe.run(ProbeSpec(), job).environment
    measured = environment_record(found.device, threads=2)
    assert found.details["machine_hash"] == measured.details["machine_hash"]
    assert found.stable_hash == measured.stable_hash
