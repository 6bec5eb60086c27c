"""Jobs, their attempts and their events. The row is the truth; a queue message only wakes a worker up."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from webapp.jobs.states import FailureKind, Slot, State


class Suite(models.Model):
    """Jobs submitted together: a pipeline, a sweep, or the trainings of a study (`study` is its name in the catalogue)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True, unique=True)
    study = models.CharField(max_length=50, blank=True, default="", db_index=True)

    def __str__(self) -> str:
        return self.name


class Job(models.Model):
    """A request with a lifecycle (docs/jobs.md). `spec` is detection_core.schemas.specs, `result` its result.

    Every write of a running job carries `attempt` in its WHERE. All times are the database's. `origin` names the machine of a job that
    was run elsewhere and came in as a bundle; it is empty for jobs of our own workers. `labels` say which part of its suite a job is, such
    as a study's arm and seed.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=20)
    title = models.CharField(max_length=200, blank=True)
    spec = models.JSONField()
    state = models.CharField(max_length=20, choices=State.choices)
    lane = models.CharField(max_length=50, default="cpu")
    slot = models.CharField(max_length=10, choices=Slot.choices)
    priority = models.IntegerField(default=0)
    suite = models.ForeignKey(Suite, null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True, unique=True)

    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    attempt = models.PositiveIntegerField(default=0)
    lost_attempts = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    time_limit_s = models.PositiveIntegerField(default=6 * 3600)

    progress = models.JSONField(default=dict)
    resume_sha256 = models.CharField(max_length=64, blank=True)
    result = models.JSONField(null=True, blank=True)
    origin = models.CharField(max_length=200, blank=True, default="")
    labels = models.JSONField(default=dict, blank=True)
    failure_kind = models.CharField(max_length=10, choices=FailureKind.choices, blank=True)
    failure_message = models.TextField(blank=True)
    log_tail = models.TextField(blank=True)
    event_seq = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["lane", "slot", "-priority", "id"], name="job_claim", condition=Q(state="queued")),
            models.Index(fields=["lease_expires_at"], name="job_lease", condition=Q(state__in=["running", "cancelling"])),
            models.Index(fields=["-created_at"], name="job_recent"),
            models.Index(fields=["state", "-created_at"], name="job_state_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"


class JobDependency(models.Model):
    """`job` waits for `needs`; when that succeeds, its output `role` becomes the input `field` of the waiting job's spec."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependencies")
    needs = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependents")
    field = models.CharField(max_length=50)
    role = models.CharField(max_length=30)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "field"], name="job_dependency_field")]

    def __str__(self) -> str:
        return f"{self.job_id} needs {self.needs_id}"


class JobAttempt(models.Model):
    """One try at a job: where, when, how it ended."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    reason = models.TextField(blank=True)
    cancel_proof = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="job_attempt_number")]

    def __str__(self) -> str:
        return f"attempt {self.number}"


class JobEvent(models.Model):
    """A move, a warning, a metric point or sample predictions; `seq` counts within the job without gaps (Job.event_seq is the last)."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(default=0)
    type = models.CharField(max_length=20)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="job_event_seq")]

    def __str__(self) -> str:
        return f"{self.type} {self.seq}"


class JobLog(models.Model):
    """A piece of a job's log, uploaded while the job runs; `offset` is the byte position within the attempt's log."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_chunks")
    attempt = models.PositiveIntegerField()
    offset = models.BigIntegerField()
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "attempt", "offset"], name="job_log_offset")]

    def __str__(self) -> str:
        return f"log {self.attempt}:{self.offset}"


class JobOutput(models.Model):
    """A file a job made, by role; the bytes are an artifact."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="outputs")
    role = models.CharField(max_length=30)
    name = models.CharField(max_length=200)
    artifact = models.ForeignKey("artifacts.Artifact", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "role"], name="job_output_role")]

    def __str__(self) -> str:
        return f"{self.role}: {self.name}"
