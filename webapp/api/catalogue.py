"""What there is to choose from: detectors, data sets, hardware."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from django.http import HttpRequest
from ninja import Router
from ninja.errors import HttpError

from detection_core.catalogue.detectors import DETECTORS
from webapp.api.auth import READ
from webapp.api.present import dataset_out
from webapp.api.schemas import DatasetOut, ModelOut, Problem, WorkerOut
from webapp.datasets.models import Dataset
from webapp.hardware.models import Worker
from webapp.hardware.selectors import living_since

router = Router(auth=READ)


@router.get("/models", response=list[ModelOut], operation_id="models")
def models(request: HttpRequest) -> list[ModelOut]:
    """List the catalogue's detectors."""
    return [
        ModelOut(**{name: value for name, value in asdict(entry).items() if name in ModelOut.model_fields}) for entry in DETECTORS.values()
    ]


@router.get("/datasets", response=list[DatasetOut], operation_id="datasets")
def datasets(request: HttpRequest, name: str = "") -> list[DatasetOut]:
    """List data sets with their versions, the newest first."""
    query = Dataset.objects.prefetch_related("versions").order_by("-id")
    return [dataset_out(row) for row in (query.filter(name=name) if name else query)[:500]]


@router.get("/datasets/{uuid}", response={200: DatasetOut, 404: Problem}, operation_id="dataset")
def dataset(request: HttpRequest, uuid: UUID) -> DatasetOut:
    """Show one data set."""
    row = Dataset.objects.prefetch_related("versions").filter(uuid=uuid).first()
    if row is None:
        raise HttpError(404, "no data set has this id; GET /api/v1/datasets lists them")
    return dataset_out(row)


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
