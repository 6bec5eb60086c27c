"""Downloads of stored bytes."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotFound

from webapp.artifacts.http import artifact_response
from webapp.artifacts.models import Artifact


async def artifact_download(request: HttpRequest, sha256: str, name: str) -> HttpResponseBase:
    """Send an artifact by its hash under the name in the address."""
    artifact = await Artifact.objects.filter(sha256=sha256).afirst()
    if artifact is None:
        # Not Http404: in an async view Django renders that page in a thread whose database connection nobody gives back.
        return HttpResponseNotFound("no stored file has this hash", content_type="text/plain")
    return await artifact_response(request, artifact, filename=name)
