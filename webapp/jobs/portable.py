"""The spec of a job as a person may take it away: it runs with no server, given that its inputs can be fetched once."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse

from webapp.jobs.models import Job


def portable_spec(job: Job) -> dict[str, Any]:
    """Return the job's spec with an address at each input file and without the state of an earlier attempt."""
    spec = dict(job.spec)
    spec.pop("resume", None)
    for field, value in spec.items():
        if isinstance(value, dict) and value.get("sha256"):
            name = (value.get("name") or value["sha256"][:12]).replace("/", "-")
            path = reverse("artifact-download", args=[value["sha256"], name])
            spec[field] = {**value, "from_job": None, "url": settings.SITE_URL.rstrip("/") + path}
    return spec


def spec_headers(job: Job) -> dict[str, str]:
    """Return the headers under which a browser saves the spec as a file."""
    return {"Content-Disposition": f'attachment; filename="{job.kind}-{str(job.uuid)[:8]}.json"'}
