"""What there is to choose from: detectors, data sets, hardware."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponseBase
from ninja import Router, Status
from ninja.errors import HttpError

from detection_core.catalogue.detectors import DETECTORS
from webapp.api.auth import ACT, READ, caller
from webapp.api.jobs import IDEMPOTENCY
from webapp.api.present import dataset_detail_out, dataset_out, job_out, version_out
from webapp.api.schemas import DatasetDetailOut, DatasetOut, FreezeIn, FreezeOut, ModelOut, Problem, WorkerOut
from webapp.datasets.export import export_response, form_checked
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.hardware.models import Worker
from webapp.hardware.selectors import living_since
from webapp.jobs.services import version_freeze

router = Router(auth=READ)
NO_VERSION = "no version of a data set has this id; GET /api/v1/datasets lists them"


@router.get("/models", response=list[ModelOut], operation_id="models")
def models(request: HttpRequest) -> list[ModelOut]:
    """List the catalogue's detectors."""
    return [
        ModelOut(**{name: value for name, value in asdict(entry).items() if name in ModelOut.model_fields}) for entry in DETECTORS.values()
    ]


@router.get("/datasets", response=list[DatasetOut], operation_id="datasets")
def datasets(request: HttpRequest, name: str = "") -> list[DatasetOut]:
    """List data sets with their versions, the newest first."""
    versions = Prefetch("versions", DatasetVersion.objects.defer("statistics", "leaks"))
    query = Dataset.objects.prefetch_related(versions).order_by("-id")
    return [dataset_out(row) for row in (query.filter(name=name) if name else query)[:500]]


@router.get("/datasets/{uuid}", response={200: DatasetDetailOut, 404: Problem}, operation_id="dataset")
def dataset(request: HttpRequest, uuid: UUID) -> DatasetDetailOut:
    """Show one data set with what was found in each version: problems by file, statistics, images in two splits, changes."""
    row = Dataset.objects.prefetch_related("versions").filter(uuid=uuid).first()
    if row is None:
        raise HttpError(404, "no data set has this id; GET /api/v1/datasets lists them")
    return dataset_detail_out(row)


@router.post(
    "/datasets/versions/{uuid}/freeze",
    auth=ACT,
    response={200: FreezeOut, 202: FreezeOut, 404: Problem, 422: Problem},
    operation_id="dataset_freeze",
)
def dataset_freeze(request: HttpRequest, uuid: UUID, body: FreezeIn, key: str | None = IDEMPOTENCY) -> Status:
    """Freeze a preview; with changes, or on a frozen version, a job makes the changed version out of it (202)."""
    version = DatasetVersion.objects.select_related("dataset", "artifact").filter(uuid=uuid).first()
    if version is None:
        raise HttpError(404, NO_VERSION)
    told = {"licence": body.licence, "source": body.source}
    done = version_freeze(version=version, edits=body.edits, user=caller(request), token=key or "", **told)
    job = job_out(done.job) if done.job else None
    return Status(202 if job else 200, FreezeOut(version=version_out(done.version), job=job))


@router.get("/datasets/versions/{uuid}/export", response={200: Any, 404: Problem, 422: Problem}, operation_id="dataset_export")
async def dataset_export(request: HttpRequest, uuid: UUID, form: str) -> HttpResponseBase:
    """Download a version as a .tar in COCO, YOLO or Pascal VOC form: `form` is coco, yolo or voc."""
    query = DatasetVersion.objects.select_related("dataset", "artifact").defer("report", "statistics", "leaks", "edits")
    version = await query.filter(uuid=uuid).afirst()
    if version is None:
        raise HttpError(404, NO_VERSION)
    try:
        return await export_response(version, form_checked(form))
    except FileNotFoundError:
        raise HttpError(404, "the stored files of this data set are gone; import it again") from None


@router.get("/hardware", response=list[WorkerOut], operation_id="hardware")
def hardware(request: HttpRequest) -> list[WorkerOut]:
    """List workers, the living first."""
    limit = living_since()
    rows = Worker.objects.select_related("environment").order_by("-heartbeat_at")[:200]
    return [
        WorkerOut(
            name=row.name,
            host=row.host,
            lanes=row.lanes,
            threads=row.threads,
            alive=row.stopped_at is None and row.heartbeat_at >= limit,
            draining=row.draining,
            heartbeat_at=row.heartbeat_at,
            environment=row.environment.title if row.environment else None,
            backends=row.capabilities.get("backends", []),
        )
        for row in rows
    ]
