"""Specs: what a job is asked to do. A spec with its input files is enough to do the job again, with no server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe

Split = Literal["train", "val", "test"]
Backend = Literal["eager", "onnxruntime", "null"]
Scenario = Literal["single_stream"]
Duration = Literal["quick", "standard", "full"]
Threads = Annotated[int, Field(ge=1, le=256)]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]


class ImportSpec(Schema):
    """Bring a data set into canonical form: `source.ref` (built-in name or path) or `source.sha256` (an uploaded .zip or .tar)."""

    schema_version: Literal[1] = 1
    kind: Literal["import"] = "import"
    source: InputFile
    name: Annotated[str, Field(min_length=1, max_length=100)]
    class_names: tuple[str, ...] | None = None
    options: dict[str, Any] = {}


class TrainSpec(Schema):
    """Train `model` on the train split, choose on val."""

    schema_version: Literal[1] = 1
    kind: Literal["train"] = "train"
    model: str
    dataset: InputFile
    recipe: Recipe = Recipe()
    weights: InputFile | None = None
    resume: InputFile | None = None
    device: Device = "cpu"
    threads: Threads = 1


class ExportSpec(Schema):
    """Turn a checkpoint into a file for another runtime."""

    schema_version: Literal[1] = 1
    kind: Literal["export"] = "export"
    checkpoint: InputFile
    format: Literal["onnx"] = "onnx"
    dtype: Literal["fp32"] = "fp32"
    threads: Threads = 1


class EvaluateSpec(Schema):
    """Measure the accuracy of a model file on a split with a backend. No threshold above 0.001 is ever called AP."""

    schema_version: Literal[1] = 1
    kind: Literal["evaluate"] = "evaluate"
    artifact: InputFile
    backend: Backend
    dataset: InputFile
    split: Split = "test"
    score_thresh: Annotated[float, Field(ge=0, le=1)] = 0.001
    device: Device = "cpu"
    threads: Threads = 1


class ScoreSpec(Schema):
    """Score a COCO results file against COCO ground truth; no model is run."""

    schema_version: Literal[1] = 1
    kind: Literal["score"] = "score"
    ground_truth: InputFile
    predictions: InputFile


class BenchmarkSpec(Schema):
    """Measure end-to-end latency of a model file on real images of a split."""

    schema_version: Literal[1] = 1
    kind: Literal["benchmark"] = "benchmark"
    artifact: InputFile
    backend: Backend
    dataset: InputFile
    split: Split = "test"
    scenario: Scenario = "single_stream"
    duration: Duration = "quick"
    score_thresh: Annotated[float, Field(ge=0, le=1)] = 0.001
    batch: Literal[1] = 1
    device: Device = "cpu"
    threads: Threads = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ProbeSpec(Schema):
    """Say what this machine is and which backends and devices it can run."""

    schema_version: Literal[1] = 1
    kind: Literal["probe"] = "probe"


JobSpec = ImportSpec | TrainSpec | ExportSpec | EvaluateSpec | ScoreSpec | BenchmarkSpec | ProbeSpec
SPEC_TYPES: dict[str, type[Schema]] = {
    "import": ImportSpec,
    "train": TrainSpec,
    "export": ExportSpec,
    "evaluate": EvaluateSpec,
    "score": ScoreSpec,
    "benchmark": BenchmarkSpec,
    "probe": ProbeSpec,
}


def parse_spec(data: Any) -> JobSpec:
    """Return the spec that `data` (a dict) holds.

    Raises:
        InvalidInput: one sentence that names each wrong field and the remedy.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in SPEC_TYPES:
        raise InvalidInput(f"field 'kind' is {kind!r}; use one of {', '.join(SPEC_TYPES)}")
    return SPEC_TYPES[kind].parse(data)  # type: ignore[return-value]


def input_fields(spec: JobSpec) -> dict[str, InputFile]:
    """Return the spec's input files by field name, without the absent ones."""
    values = {name: getattr(spec, name) for name in type(spec).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, InputFile)}
