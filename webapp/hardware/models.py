"""Machines: environments that results are bound to, and workers that serve jobs."""

from __future__ import annotations

import uuid

from django.db import models


class Environment(models.Model):
    """Hardware and software record of a machine, one row a stable hash. `record` is schemas.results.Environment."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    stable_hash = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=200)
    device = models.CharField(max_length=20)
    record = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class Worker(models.Model):
    """A worker process as it last reported itself. `capabilities` is schemas.results.ProbeResult, or {} before its first probe."""

    name = models.CharField(max_length=100, unique=True)
    host = models.CharField(max_length=200)
    boot_id = models.CharField(max_length=64)
    pid = models.IntegerField()
    lanes = models.JSONField()
    heavy_slots = models.PositiveIntegerField(default=1)
    light_slots = models.PositiveIntegerField(default=1)
    threads = models.PositiveIntegerField(default=1)
    capabilities = models.JSONField(default=dict)
    load = models.JSONField(default=dict)
    environment = models.ForeignKey(Environment, null=True, blank=True, on_delete=models.SET_NULL, related_name="workers")
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField(db_index=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class HostLease(models.Model):
    """A host taken alone by one job (a latency measurement), or shared by several. A leased row, so no session holds it."""

    host = models.CharField(max_length=200)
    job = models.UUIDField(unique=True)
    exclusive = models.BooleanField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["host", "expires_at"])]

    def __str__(self) -> str:
        return f"{self.host}: {self.job}"
