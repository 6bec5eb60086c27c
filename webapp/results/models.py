"""What jobs found: checkpoints, exported models, evaluations, latency measurements, and the pairs that boards show."""

from __future__ import annotations

import uuid

from django.db import models

from webapp.artifacts.models import Artifact
from webapp.datasets.models import DatasetVersion
from webapp.hardware.models import Environment
from webapp.jobs.models import Job


class Checkpoint(models.Model):
    """A training's best or last weights. `metrics` are the 12 COCO numbers on val (the split that chose it)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    role = models.CharField(max_length=10)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    model = models.CharField(max_length=100, db_index=True)
    family = models.CharField(max_length=50)
    dataset_version = models.ForeignKey(DatasetVersion, null=True, on_delete=models.SET_NULL, related_name="checkpoints")
    recipe = models.JSONField()
    metrics = models.JSONField(null=True)
    licence = models.CharField(max_length=50)
    epoch = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "role"], name="checkpoint_role")]

    def __str__(self) -> str:
        return f"{self.model} {self.role}"


class ExportedModel(models.Model):
    """Bytes plus manifest; eager's is the deploy safetensors itself."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    artifact = models.OneToOneField(Artifact, on_delete=models.PROTECT, related_name="exported_model")
    checkpoint = models.ForeignKey(Checkpoint, null=True, blank=True, on_delete=models.SET_NULL, related_name="exports")
    model = models.CharField(max_length=100, db_index=True)
    family = models.CharField(max_length=50)
    format = models.CharField(max_length=20)
    dtype = models.CharField(max_length=10)
    manifest = models.JSONField()
    max_abs_difference = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.model} {self.format} {self.dtype}"


class Measurement(models.Model):
    """The conditions that an evaluation and a latency measurement share."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="%(class)s")
    exported_model = models.ForeignKey(ExportedModel, on_delete=models.CASCADE, related_name="%(class)ss")
    backend = models.CharField(max_length=20)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="%(class)ss")
    split = models.CharField(max_length=10)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="%(class)ss")
    threads = models.PositiveIntegerField()
    protocol = models.JSONField()
    result = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Evaluation(Measurement):
    """Accuracy of an exported model on a split with a backend. `result` is schemas.results.EvaluateResult."""

    ap = models.FloatField(null=True)
    ap50 = models.FloatField(null=True)
    detections = models.ForeignKey(Artifact, null=True, on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"evaluation {self.uuid}"


class LatencyMeasurement(Measurement):
    """End-to-end latency of an exported model with a backend on a machine. `result` is schemas.results.BenchmarkResult."""

    scenario = models.CharField(max_length=20)
    duration = models.CharField(max_length=20)
    batch = models.PositiveIntegerField(default=1)
    p50_ms = models.FloatField()
    p95_ms = models.FloatField()
    mean_ms = models.FloatField()
    fps = models.FloatField()
    flags = models.JSONField(default=list)
    samples = models.ForeignKey(Artifact, null=True, on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"latency {self.uuid}"


class Result(models.Model):
    """The stored pair of one evaluation and one latency measurement of the same exported model, backend and options.

    `ap_low` to `ap_high` is AP's 95% bootstrap interval, `small_recall` recall of small objects at the operating point, `origin` the
    machine where a result was measured that came in as a bundle.

    Each latency measurement has one row; an evaluation has a row of its own only while no measurement is paired with it.

    Everything that leaderboard and frontier filter or sort by is a column, so a page is one indexed query.
    `group_key` names the group within which a front may be drawn: data set version, split, environment with threads, scenario,
    batch and protocol.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    evaluation = models.ForeignKey(Evaluation, null=True, blank=True, on_delete=models.CASCADE, related_name="pairs")
    latency = models.OneToOneField(LatencyMeasurement, null=True, blank=True, on_delete=models.CASCADE, related_name="pair")
    exported_model = models.ForeignKey(ExportedModel, on_delete=models.CASCADE, related_name="results")
    checkpoint = models.ForeignKey(Checkpoint, null=True, blank=True, on_delete=models.SET_NULL, related_name="results")
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="results")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="results")
    suite_uuid = models.UUIDField(null=True, blank=True, db_index=True)

    model = models.CharField(max_length=100)
    family = models.CharField(max_length=50)
    stages = models.CharField(max_length=10)
    backend = models.CharField(max_length=20)
    dtype = models.CharField(max_length=10)
    split = models.CharField(max_length=10)
    threads = models.PositiveIntegerField()
    scenario = models.CharField(max_length=20, blank=True)
    duration = models.CharField(max_length=20, blank=True)
    input_size = models.PositiveIntegerField()
    licence = models.CharField(max_length=50)
    group_key = models.CharField(max_length=64, db_index=True)

    ap = models.FloatField(null=True)
    ap_low = models.FloatField(null=True)
    ap_high = models.FloatField(null=True)
    ap50 = models.FloatField(null=True)
    ap75 = models.FloatField(null=True)
    ap_small = models.FloatField(null=True)
    small_recall = models.FloatField(null=True)
    ar_100 = models.FloatField(null=True)
    p50_ms = models.FloatField(null=True)
    p95_ms = models.FloatField(null=True)
    mean_ms = models.FloatField(null=True)
    fps = models.FloatField(null=True)
    params_m = models.FloatField(null=True)
    macs_g = models.FloatField(null=True)
    size_bytes = models.BigIntegerField()
    flags = models.JSONField(default=list)
    origin = models.CharField(max_length=200, blank=True, default="")
    complete = models.BooleanField(default=False)
    selection_split = models.BooleanField(default=False)
    on_front = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["complete", "-ap", "id"], name="result_board_ap"),
            models.Index(fields=["complete", "p50_ms", "id"], name="result_board_latency"),
            models.Index(fields=["group_key", "complete"], name="result_group"),
            models.Index(fields=["-created_at"], name="result_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.backend} {self.dtype}"
