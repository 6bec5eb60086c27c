"""Results: what a job found. Numbers are stored 0..1 (AP, AR) and in milliseconds; None means undefined."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detection_core.schemas.accuracy import AccuracyCard
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import OutputFile, Sha256
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.text import StorableText

Unit = Annotated[float, Field(ge=0, le=1)]

# The second evaluator sees every image of a set up to the first number, and a seeded sample of the second of a larger one.
AUDIT_WHOLE_UP_TO = 500
AUDIT_SAMPLE = 200


class Environment(Schema):
    """The machine and software of a measurement. `stable_hash` covers only fields that stay the same between runs on one
    machine: cpu, cores, memory class, device, driver and library versions, container limits."""

    stable_hash: str
    hostname: str
    cpu: str
    cores: int
    memory_gb: float
    instruction_sets: tuple[str, ...] = ()
    device: str = "cpu"
    device_name: str | None = None
    driver: str | None = None
    os: str
    python: str
    versions: dict[str, str] = {}
    governor: str | None = None
    details: dict[str, Any] = {}


class CocoMetrics(Schema):
    """The 12 COCO numbers; None where no ground truth defines them."""

    ap: Unit | None
    ap50: Unit | None
    ap75: Unit | None
    ap_small: Unit | None
    ap_medium: Unit | None
    ap_large: Unit | None
    ar_1: Unit | None
    ar_10: Unit | None
    ar_100: Unit | None
    ar_small: Unit | None
    ar_medium: Unit | None
    ar_large: Unit | None


class ClassMetrics(Schema):
    """AP of one class with the number of ground-truth boxes behind it."""

    name: str
    ap: Unit | None
    ap50: Unit | None
    ground_truths: int


class SplitSummary(Schema):
    """Counts of one split."""

    images: int
    boxes: int
    per_class: dict[str, int]


class HealthIssue(Schema):
    """One thing found wrong in a data set: where, what, what was done about it."""

    file: StorableText
    problem: StorableText
    action: StorableText


class HealthReport(Schema):
    """What a reader found. `issues` holds the first 1,000, `counts` all of them by problem code."""

    issues: tuple[HealthIssue, ...] = ()
    counts: dict[str, int] = {}


class BoxSizes(Schema):
    """A histogram of box sides, the square root of the area: `edges` in pixels (the last open), `counts` one fewer."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class DatasetStatistics(Schema):
    """What a data set holds, by class and box size; `at_input` by the side of a square network input that images are fitted into."""

    image_sizes: dict[str, int] = {}  # "640x480": images, the commonest first, at most 20
    boxes_per_image: BoxSizes | None = None  # edges are numbers of boxes
    original: BoxSizes | None = None
    at_input: dict[str, BoxSizes] = {}
    per_class: dict[str, BoxSizes] = {}


class Leak(Schema):
    """Two images that are the same or nearly so and stand in two splits. `distance` is in bits of a 64-bit picture hash, 0 the nearest."""

    first: str
    first_split: str
    second: str
    second_split: str
    exact: bool
    distance: int


class LeakReport(Schema):
    """Images that stand in two splits. `leaks` holds the first 200 pairs, `exact` and `near` count all."""

    checked: int = 0
    exact: int = 0
    near: int = 0
    leaks: tuple[Leak, ...] = ()


class ImportResult(Schema):
    """A data set in canonical form."""

    kind: Literal["import"] = "import"
    name: str
    content_hash: Sha256
    classes: tuple[str, ...]
    splits: dict[str, SplitSummary]
    report: HealthReport
    form: Literal["coco", "yolo", "voc", "canonical", "builtin"]
    licence: str | None = None
    source: str | None = None
    statistics: DatasetStatistics = DatasetStatistics()
    leaks: LeakReport = LeakReport()
    edits: dict[str, Any] = {}
    preview: bool = False
    files: tuple[OutputFile, ...]


class ImportModelResult(Schema):
    """A model file from elsewhere, with its manifest inside."""

    kind: Literal["import_model"] = "import_model"
    path: str
    sha256: Sha256
    manifest: Manifest
    source_sha256: Sha256
    outputs: dict[str, tuple[int, ...]] = {}  # names and shapes that the file gave for one image
    environment: Environment
    files: tuple[OutputFile, ...]


class CheckpointResult(Schema):
    """One checkpoint of a training with its numbers on val."""

    path: str
    sha256: Sha256
    epoch: float
    metrics: CocoMetrics | None


class TrainResult(Schema):
    """A finished training. `ended` says what ended it, `waiting_share` which part of the time steps waited for images.

    `history` has a line an epoch: mean losses, `lr`, `images_per_s`, `waiting_share`, numbers on val, and for dense families for each
    level (`_0` is the finest) the sums of an epoch: `positives_0`, `negatives_0`, and their parts of the classification loss of all levels,
    `positive_share_0`, `negative_share_0`.
    """

    kind: Literal["train"] = "train"
    best: CheckpointResult
    last: CheckpointResult
    manifest: Manifest
    recipe: Recipe
    dataset_sha256: str | None
    steps: int
    epochs: float
    seconds: float
    images_per_s: float
    waiting_share: Unit | None = None
    ended: Literal["epochs", "time", "early_stop"] | None = None
    history: tuple[dict[str, Any], ...] = ()
    environment: Environment
    files: tuple[OutputFile, ...]


class ExportResult(Schema):
    """An exported file and how far its raw outputs are from the checkpoint's, on generated pictures."""

    kind: Literal["export"] = "export"
    path: str
    sha256: Sha256
    manifest: Manifest
    max_abs_difference: float
    environment: Environment
    files: tuple[OutputFile, ...]


class Audit(Schema):
    """The second evaluator's word: its version, how many images it saw, and the largest difference of the 12 numbers.

    `first` and `second` are the numbers of both on the audited images: kept where they differ by more than rounding.
    """

    engine: str
    images: Annotated[int, Field(ge=0)]
    max_abs_difference: Annotated[float, Field(ge=0)]
    first: CocoMetrics | None = None
    second: CocoMetrics | None = None

    @staticmethod
    def images_of(images: int) -> int:
        """Return how many of a set of `images` an audit sees."""
        return images if images <= AUDIT_WHOLE_UP_TO else AUDIT_SAMPLE


class EvaluateResult(Schema):
    """Accuracy of one model file on one split with one backend."""

    kind: Literal["evaluate"] = "evaluate"
    metrics: CocoMetrics
    per_class: tuple[ClassMetrics, ...]
    images: int
    detections: int
    split: str
    backend: str
    artifact_sha256: Sha256
    dataset_sha256: Sha256
    manifest: Manifest
    protocol: dict[str, Any]
    engine: str
    audit: Audit
    accuracy: AccuracyCard = AccuracyCard()
    environment: Environment
    files: tuple[OutputFile, ...] = ()


class ScoreResult(Schema):
    """Accuracy of a results file. `dataset_sha256` and `split` are there where it was scored on a data set."""

    kind: Literal["score"] = "score"
    metrics: CocoMetrics
    per_class: tuple[ClassMetrics, ...] = ()
    images: int
    detections: int
    dataset_sha256: str | None = None
    split: str | None = None
    engine: str
    audit: Audit
    accuracy: AccuracyCard = AccuracyCard()
    files: tuple[OutputFile, ...] = ()


class LatencySummary(Schema):
    """Per-image latency in milliseconds; p99 is None under 1,000 samples. Percentile q is the sorted sample at ceil(q * n)."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float | None
    min: float
    max: float
    sd: float
    p50_ci: tuple[float, float] | None = None
    p95_ci: tuple[float, float] | None = None


class BenchmarkResult(Schema):
    """Latency of one model file with one backend on one machine. `fps` is 1000 / mean latency, end to end.
    `flags` are words such as `unstable`, `disturbed`, `drift`, `throttled`; empty means valid."""

    kind: Literal["benchmark"] = "benchmark"
    latency_ms: LatencySummary
    fps: float
    stages_ms: dict[str, LatencySummary]
    samples: int
    runs: int
    flags: tuple[str, ...]
    scenario: str
    duration: str
    split: str
    backend: str
    threads: int
    batch: int
    artifact_sha256: Sha256
    dataset_sha256: Sha256
    manifest: Manifest
    protocol: dict[str, Any]
    telemetry: dict[str, Any] = {}
    environment: Environment
    files: tuple[OutputFile, ...] = ()


class BackendAbility(Schema):
    """Whether this machine can run a backend, and if not, why."""

    name: str
    devices: tuple[str, ...]
    formats: tuple[str, ...]
    reason: str | None = None


class ProbeResult(Schema):
    """What a machine is and can run."""

    kind: Literal["probe"] = "probe"
    environment: Environment
    backends: tuple[BackendAbility, ...]
    files: tuple[OutputFile, ...] = ()


JobResult = ImportResult | ImportModelResult | TrainResult | ExportResult | EvaluateResult | ScoreResult | BenchmarkResult | ProbeResult
RESULT_TYPES: dict[str, type[Schema]] = {
    "import": ImportResult,
    "import_model": ImportModelResult,
    "train": TrainResult,
    "export": ExportResult,
    "evaluate": EvaluateResult,
    "score": ScoreResult,
    "benchmark": BenchmarkResult,
    "probe": ProbeResult,
}


class Failure(Schema):
    """Why a job failed: `user` (their input), `resource` (memory, disk, time), `system` (ours); a sentence with the remedy."""

    kind: Literal["user", "resource", "system"]
    message: StorableText


def parse_result(data: dict[str, Any]) -> JobResult:
    """Return the result that `data` holds; raises InvalidInput where it holds none."""
    kind = data.get("kind")
    if kind not in RESULT_TYPES:
        raise InvalidInput(f"field 'kind' is {kind!r}; use one of {', '.join(RESULT_TYPES)}")
    return RESULT_TYPES[kind].parse(data)  # type: ignore[return-value]
