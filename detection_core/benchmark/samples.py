"""The samples file: every raw time of a measurement, and the figures that follow from it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detection_core.benchmark.runner import RunRecord
from detection_core.benchmark.statistics import latency_summary
from detection_core.catalogue.flags import FLAGS
from detection_core.schemas.results import LatencySummary

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Figures:
    """The figures of a measurement over all of its runs. `fps` is 1000 / mean latency."""

    latency_ms: LatencySummary
    fps: float
    stages_ms: dict[str, LatencySummary]
    samples: int
    runs: int
    flags: tuple[str, ...]


def figures_of(records: Sequence[RunRecord], *, seed: int) -> Figures:
    """Compute all figures; warm-up samples count for none of them. `seed` is the bootstrap's."""
    recorded = [record.recorded() for record in records]
    latency = latency_summary(recorded, seed=seed)
    stages = [record.stage_samples()[1] for record in records]
    return Figures(
        latency_ms=latency,
        fps=1000 / latency.mean,
        stages_ms={name: latency_summary([run[name] for run in stages], interval=False) for name in stages[0]},
        samples=sum(len(run) for run in recorded),
        runs=len(records),
        flags=tuple(flag for flag in FLAGS if any(flag in record.flags for record in records)),
    )


def write_samples(path: Path, records: Sequence[RunRecord], *, images: Sequence[str], seed: int, protocol: dict[str, Any]) -> None:
    """Write the file: gzipped JSON, the same bytes for the same samples.

    `images` are the file names that the samples' image indices point at; `seed` is the bootstrap's.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "unit": "ns",
        "seed": seed,
        "protocol": protocol,
        "images": list(images),
        "runs": [record.to_dict() for record in records],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    part = path.with_name(path.name + ".part")
    part.write_bytes(gzip.compress(text.encode(), mtime=0))
    part.replace(path)


def read_samples(path: Path) -> dict[str, Any]:
    """Return the file's content, `runs` as RunRecords."""
    content = json.loads(gzip.decompress(path.read_bytes()))
    return content | {"runs": [RunRecord.from_dict(run) for run in content["runs"]]}


def summary_from_samples(path: Path) -> Figures:
    """Compute the figures of a measurement again from its samples file alone."""
    content = read_samples(path)
    return figures_of(content["runs"], seed=content["seed"])
