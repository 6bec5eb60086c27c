"""Stored bytes, named by their hash."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Artifact(models.Model):
    """Bytes by sha256. A row exists only when the bytes are stored completely."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    kind = models.CharField(max_length=30)
    name = models.CharField(max_length=200)
    storage_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"
