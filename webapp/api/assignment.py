"""What a detector could learn from a stored data set, before anything is queued."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Query, Router
from ninja.errors import HttpError

from detection_core.assignment.report import AssignmentReport
from webapp.api.auth import READ
from webapp.api.schemas import Problem
from webapp.datasets.models import DatasetVersion
from webapp.jobs.assignment import report_of

router = Router(auth=READ)
INPUT_SIZE = Query(None, ge=64, le=2048, description="side of the square input in pixels; by default the detector's own")


@router.get("/assignment", response={200: AssignmentReport, 404: Problem, 422: Problem}, operation_id="assignment")
def assignment(
    request: HttpRequest, model: str, dataset_sha256: str, input_size: int | None = INPUT_SIZE, split: str = "train"
) -> AssignmentReport:
    """Count the ground truth that a detector's places or anchors would learn, lose and leave out, by size and by level."""
    if not DatasetVersion.objects.filter(artifact_id=dataset_sha256).exists():
        raise HttpError(404, "no data set has this artifact_sha256; GET /api/v1/datasets lists them")
    try:
        return report_of(dataset_sha256, model, input_size=input_size, split=split)
    except FileNotFoundError:
        raise HttpError(404, "the stored data set is gone; import it again") from None
