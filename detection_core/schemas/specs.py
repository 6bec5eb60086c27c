"""Specs: what a job is asked to do. A spec with its input files is enough to do the job again, with no server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe

Split = Literal["train", "val", "test"]
Backend = Literal["eager", "onnxruntime", "null"]
Scenario = Literal["single_stream"]
Duration = Literal["quick", "standard", "full"]
Threads = Annotated[int, Field(ge=1, le=256)]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]


class SplitRule(Schema):
    """How images are divided anew: drawn by `seed`; drawn whole groups at a time (place, flight, clip); or by `lists` of file names."""

    by: Literal["seed", "group", "list"]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    val: Annotated[float, Field(ge=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.15
    group_pattern: Annotated[str, Field(max_length=200)] = ""  # a regular expression over the file name; its first group names the group
    lists: dict[Split, tuple[str, ...]] = {}


class DatasetEdits(Schema):
    """What a person changed between reading a data set and freezing it. Names are those that the files have.

    `rename` maps all at once, so that two names can be exchanged; two classes with one new name become one. `drop` takes the boxes of
    classes out, the images stay.
    """

    rename: dict[str, Annotated[str, Field(min_length=1, max_length=100)]] = {}
    drop: tuple[str, ...] = ()
    split: SplitRule | None = None


class ImportSpec(Schema):
    """Bring a data set into canonical form: `source.ref` (built-in name or path) or `source.sha256` (an uploaded .zip or .tar).

    `preview` reads and checks only for a person to look at; the version is frozen later.
    """

    schema_version: Literal[1] = 1
    kind: Literal["import"] = "import"
    source: InputFile
    name: Annotated[str, Field(min_length=1, max_length=100)]
    class_names: tuple[str, ...] | None = None
    options: dict[str, Any] = {}
    edits: DatasetEdits = DatasetEdits()
    licence: Annotated[str, Field(max_length=100)] = ""
    origin: Annotated[str, Field(max_length=300)] = ""
    preview: bool = False


class TrainSpec(Schema):
    """Train `model` on the train split, choose on val.

    `data_workers` threads prepare images beside the training, decoded images are kept up to `cache_mb`: both belong to the machine and
    change nothing but the speed.
    """

    schema_version: Literal[1] = 1
    kind: Literal["train"] = "train"
    model: str
    dataset: InputFile
    recipe: Recipe = Recipe()
    weights: InputFile | None = None
    resume: InputFile | None = None
    device: Device = "cpu"
    threads: Threads = 1
    data_workers: Annotated[int, Field(ge=1, le=64)] = 1
    cache_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 1024


class ExportSpec(Schema):
    """Turn a checkpoint into a file for another runtime."""

    schema_version: Literal[1] = 1
    kind: Literal["export"] = "export"
    checkpoint: InputFile
    format: Literal["onnx"] = "onnx"
    dtype: Literal["fp32"] = "fp32"
    threads: Threads = 1


class EvaluateSpec(Schema):
    """Measure the accuracy of a model file on a split with a backend. No threshold above 0.001 is ever called AP.

    The score threshold of the operating point is chosen on `operating_split`, where the data has it and it is not `split` itself.
    """

    schema_version: Literal[1] = 1
    kind: Literal["evaluate"] = "evaluate"
    artifact: InputFile
    backend: Backend
    dataset: InputFile
    split: Split = "test"
    score_thresh: Annotated[float, Field(ge=0, le=1)] = 0.001
    operating_split: Split | None = "val"
    device: Device = "cpu"
    threads: Threads = 1


class ScoreSpec(Schema):
    """Score a COCO results file; no model is run. The truth is a COCO file (`ground_truth`) or a split of a data set (`dataset`).

    With a data set, `ids` says whose image and category ids the file uses: those of the COCO annotations that the data set was read
    from (`source`), or those of its COCO export (`export`). None: as the file's own ids tell, refused where they could be both.
    `file_name` may stand in place of `image_id`.
    """

    schema_version: Literal[1] = 1
    kind: Literal["score"] = "score"
    ground_truth: InputFile | None = None
    dataset: InputFile | None = None
    split: Split = "test"
    ids: Literal["source", "export"] | None = None
    predictions: InputFile
    name: Annotated[str, Field(max_length=100)] = ""
    threads: Threads = 1

    @model_validator(mode="after")
    def _one_truth(self) -> ScoreSpec:
        if (self.ground_truth is None) == (self.dataset is None):
            raise ValueError("give either ground_truth (a COCO file) or dataset (with a split)")
        return self


class ImportModelSpec(Schema):
    """Make a model out of a file that was trained elsewhere: an ONNX graph with a declared output layout, or FastestDet's weights.

    Layouts (the graph takes one image, float32 [1, 3, H, W]):
        yolox: [1, places, 5 + classes], raw grid outputs at strides 8, 16, 32: centre, log size, objectness, class scores.
        nanodet: per stride class scores and distance distributions (GFL), see the page of the layout.
        anchor_free: [1, 4 + classes, places], boxes cx cy w h in input pixels, class scores.
        end_to_end: [1, N, 6], rows x1 y1 x2 y2 score class in input pixels; no NMS follows.
        fastestdet: FastestDet's ONNX graph, or its PyTorch weights.

    `classes` are the file's class names in the order of its outputs; `class_map` gives them the names that data sets use. `mean` and
    `std` apply to values 0..1 in the order of `channel_order`. Sizes are read from the graph where `input_height` and `input_width`
    are None. What is left None takes the layout's default.
    """

    schema_version: Literal[1] = 1
    kind: Literal["import_model"] = "import_model"
    file: InputFile
    layout: Literal["yolox", "nanodet", "anchor_free", "end_to_end", "fastestdet"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=2000)]
    class_map: dict[str, str] = {}
    input_height: Annotated[int, Field(ge=32, le=2048)] | None = None
    input_width: Annotated[int, Field(ge=32, le=2048)] | None = None
    resize: Literal["letterbox", "stretch"] | None = None
    channel_order: Literal["rgb", "bgr"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    nms_thresh: Annotated[float, Field(ge=0, le=1)] | None = None
    licence: Annotated[str, Field(max_length=50)] = "not told"
    threads: Threads = 1


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


JobSpec = ImportSpec | ImportModelSpec | TrainSpec | ExportSpec | EvaluateSpec | ScoreSpec | BenchmarkSpec | ProbeSpec
SPEC_TYPES: dict[str, type[Schema]] = {
    "import": ImportSpec,
    "import_model": ImportModelSpec,
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
