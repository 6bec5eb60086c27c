"""What the API answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from detection_core.schemas.specs import DatasetEdits


class Problem(Schema):
    """One sentence that names the thing and the remedy."""

    detail: str


class ModelOut(Schema):
    """A detector of the catalogue; `published_ap` is what others tell of the original, on the images of `published_on`."""

    name: str
    title: str
    family: str
    stages: str
    imbalance_remedy: str
    anchors: bool
    multi_scale: bool
    input_size: int
    params_m: float
    macs_g: float | None
    licence: str
    paper: str
    paper_url: str
    nms_free: bool
    compact: bool
    extra: str | None
    published_ap: float | None
    published_on: str


class DatasetVersionOut(Schema):
    """A version of a data set. One that is not `frozen` is a preview, which jobs refuse. `edits` holds the changes against the files; of
    lists of file names it has the first few, and in `listed` how many there are."""

    uuid: UUID
    number: int
    frozen: bool
    content_hash: str
    artifact_sha256: str
    classes: list[str]
    splits: dict[str, Any]
    problems: dict[str, int]
    edits: dict[str, Any]
    created_at: datetime


class DatasetOut(Schema):
    """A data set with its versions, the newest first."""

    uuid: UUID
    name: str
    licence: str
    source: str
    versions: list[DatasetVersionOut]
    url: str


class DatasetVersionDetailOut(DatasetVersionOut):
    """A version with everything that its import found: problems by file, statistics, and images that stand in two splits."""

    report: dict[str, Any]
    statistics: dict[str, Any]
    leaks: dict[str, Any]


class DatasetDetailOut(DatasetOut):
    """A data set with its versions whole, the newest first."""

    versions: list[DatasetVersionDetailOut]  # type: ignore[assignment]


class UploadOut(Schema):
    """Stored bytes."""

    sha256: str
    size: int
    name: str


class WorkerOut(Schema):
    """A worker as it last reported itself."""

    name: str
    host: str
    lanes: list[str]
    threads: int
    alive: bool
    draining: bool
    heartbeat_at: datetime
    environment: str | None
    backends: list[dict[str, Any]]


class OutputOut(Schema):
    """A file a job made."""

    role: str
    name: str
    sha256: str
    size: int


class JobOut(Schema):
    """A job as it stands."""

    uuid: UUID
    kind: str
    title: str
    state: str
    lane: str
    suite: UUID | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any]
    failure_kind: str
    failure_message: str
    log_tail: str
    worker: str
    event_seq: int
    resumable: bool
    origin: str
    waiting_because: str = ""
    url: str


class FreezeIn(Schema):
    """What is to be changed before a version is frozen: nothing by default. Licence and source are the data set's; empty leaves them."""

    edits: DatasetEdits = DatasetEdits()
    licence: str = Field("", max_length=100)
    source: str = Field("", max_length=300)


class FreezeOut(Schema):
    """A version that is frozen, or the job that makes the changed one: its version is frozen when it ends."""

    version: DatasetVersionOut
    job: JobOut | None = None


class JobDetailOut(JobOut):
    """A job with its result and outputs."""

    result: dict[str, Any] | None
    outputs: list[OutputOut]


class JobPage(Schema):
    """A page of jobs."""

    items: list[JobOut]
    total: int
    page: int
    pages: int


class EventOut(Schema):
    """A move, a warning or a metric point."""

    seq: int
    attempt: int
    type: str
    data: dict[str, Any]
    created_at: datetime


class LogOut(Schema):
    """The log from `offset`; ask again from `next_offset`."""

    attempt: int
    offset: int
    next_offset: int
    text: str


class SuiteOut(Schema):
    """Jobs submitted together."""

    uuid: UUID
    name: str
    created_at: datetime
    jobs: list[JobOut]
    url: str


class ResultOut(Schema):
    """One row of the board."""

    uuid: UUID
    model: str
    family: str
    stages: str
    backend: str
    dtype: str
    input_size: int
    dataset: str
    dataset_version: UUID
    split: str
    environment: str
    threads: int
    scenario: str
    duration: str
    score_thresh: float | None
    ap: float | None
    ap_low: float | None
    ap_high: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    small_recall: float | None
    ar_100: float | None
    p50_ms: float | None
    p95_ms: float | None
    fps: float | None
    params_m: float | None
    macs_g: float | None
    size_bytes: int
    licence: str
    flags: list[str]
    complete: bool
    selection_split: bool
    on_front: bool
    origin: str
    group: str
    suite: UUID | None
    checkpoint: UUID | None
    created_at: datetime
    url: str


class ResultPage(Schema):
    """A page of results."""

    items: list[ResultOut]
    total: int
    page: int
    pages: int


class FrontOut(Schema):
    """A group of results that may share a front, with its points."""

    group: str
    title: str
    points: list[ResultOut]


class ComparisonOut(Schema):
    """Two results of the same images, first minus second. `winner` is the better one's id where the difference is more than chance: `p`,
    corrected by Holm's method for all pairs asked for, under 0.05, and `low` to `high`, 95%, without 0. `obstacle` says why two cannot be
    compared; then there are no numbers."""

    first: UUID
    second: UUID
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    winner: UUID | None
    obstacle: str


class CheckpointOut(Schema):
    """A training's best or last weights."""

    uuid: UUID
    role: str
    model: str
    family: str
    dataset: str | None
    metrics: dict[str, float | None] | None
    epoch: float
    licence: str
    sha256: str
    size: int
    name: str
    job: UUID
    download: str
