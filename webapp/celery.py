"""The one Celery app: broker and queues. It imports no task code; the site sends tasks by name."""

from __future__ import annotations

from celery import Celery

app = Celery("paretobox")
app.config_from_object("django.conf:settings", namespace="CELERY")
