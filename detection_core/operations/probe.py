"""Say what this machine is and what it can run."""

from __future__ import annotations

from detection_core.backends.registry import BACKENDS, get_backend
from detection_core.benchmark.environment import environment_record
from detection_core.operations.context import JobContext
from detection_core.schemas.results import ProbeResult
from detection_core.schemas.specs import ProbeSpec


def run(spec: ProbeSpec, context: JobContext) -> ProbeResult:
    """Return the environment, described with the best device found, and the ability of every backend."""
    abilities = tuple(get_backend(name).ability() for name in BACKENDS)
    has_cuda = any("cuda" in ability.devices for ability in abilities)
    return ProbeResult(environment=environment_record("cuda" if has_cuda else "cpu"), backends=abilities)
