"""Data sets and their frozen versions."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from webapp.artifacts.models import Artifact


class Dataset(models.Model):
    """A data set by name; its versions hold the content."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=100, unique=True)
    licence = models.CharField(max_length=100, blank=True)
    source = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """Content: images, boxes, classes and splits, by content hash. `artifact` is the canonical .tar.

    A version that is not `frozen` is a preview: to be looked at, corrected and frozen; jobs refuse it. `splits`, `report`,
    `statistics`, `leaks` and `edits` (what a person changed against the files) hold the fields of
    detection_core.schemas.results.ImportResult.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    classes = models.JSONField()
    splits = models.JSONField()
    report = models.JSONField()
    form = models.CharField(max_length=20)
    frozen = models.BooleanField(default=True)
    edits = models.JSONField(default=dict)
    statistics = models.JSONField(default=dict)
    leaks = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_number"),
            models.UniqueConstraint(fields=["dataset", "content_hash"], name="dataset_version_content"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    @property
    def file_name(self) -> str:
        """Return the file name under which its .tar is downloaded."""
        return f"{self.dataset.name}-v{self.number}.tar".replace("/", "-")
