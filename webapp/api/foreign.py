"""What was made elsewhere and is brought in: models, files of detections, bundles of jobs that ran with no server."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import Field

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import Sha256
from detection_core.schemas.specs import ImportModelSpec, ScoreSpec
from webapp.api.auth import ACT, caller
from webapp.api.jobs import IDEMPOTENCY
from webapp.api.present import job_out, suite_out
from webapp.api.schemas import JobOut, Problem, SuiteOut
from webapp.artifacts.models import Artifact
from webapp.datasets.models import DatasetVersion
from webapp.jobs import foreign, selectors, services
from webapp.results.bundles import bundle_import

router = Router(auth=ACT)
SplitName = Literal["train", "val", "test"]


class ModelIn(Schema):
    """A model file to bring in (a spec of kind import_model) and, where `dataset` is given, to evaluate and time there."""

    spec: dict[str, Any]
    dataset: str = Field("", description="name of a data set (its newest version), or id or artifact_sha256 of a version")
    split: SplitName = "test"
    duration: Literal["quick", "standard", "full"] = "quick"
    lane: str = "cpu"


class PredictionsIn(Schema):
    """A COCO results file that was uploaded, and what it is to be scored against: a data set, or ground truth that was uploaded."""

    sha256: Sha256
    dataset: str = Field("", description="name of a data set (its newest version), or id or artifact_sha256 of a version")
    split: SplitName = "test"
    ids: Literal["source", "export"] | None = Field(
        None, description="whose ids the file uses: of the annotations that the data set was read from, or of its COCO export"
    )
    ground_truth_sha256: Sha256 | None = None
    name: Annotated[str, Field(max_length=100)] = ""
    lane: str = "cpu"


class BundleIn(Schema):
    """A bundle that was uploaded."""

    sha256: Sha256


@router.post("/models/import", response={201: SuiteOut, 422: Problem}, operation_id="model_import")
def model_import(request: HttpRequest, body: ModelIn, key: str | None = IDEMPOTENCY) -> Status:
    """Queue the import of an uploaded model file, with an evaluation and a latency measurement that wait for it."""
    spec = ImportModelSpec.parse({"kind": "import_model", **body.spec})
    plan, title = [foreign.import_plan(spec, lane=body.lane)], spec.name
    if body.dataset:
        version = _version(body.dataset)
        plan += foreign.measure_plan(spec, version, split=body.split, duration=body.duration, lane=body.lane)
        title = foreign.suite_title(spec, version)
    return Status(201, suite_out(services.suite_create(name=title, user=caller(request), jobs=plan, idempotency_key=key)))


@router.post("/predictions", response={201: JobOut, 422: Problem}, operation_id="predictions")
def predictions(request: HttpRequest, body: PredictionsIn, key: str | None = IDEMPOTENCY) -> Status:
    """Queue the scoring of an uploaded results file. It never gets a latency and stands on no board."""
    file = _uploaded(body.sha256)
    if bool(body.dataset) == (body.ground_truth_sha256 is not None):
        raise InvalidInput("give either dataset (with split) or ground_truth_sha256")
    truth: dict[str, Any]
    if body.dataset:
        version = _version(body.dataset)
        if not version.splits.get(body.split, {}).get("images"):
            raise InvalidInput(f"{version} has no {body.split} images; choose another data set or split")
        truth, of = {"dataset": {"sha256": version.artifact_id, "name": f"{version}.tar"}}, str(version)
    else:
        of = _uploaded(body.ground_truth_sha256 or "").name
        truth = {"ground_truth": {"sha256": body.ground_truth_sha256, "name": of}}
    name = body.name or file.name[:100]
    told = {"predictions": {"sha256": file.sha256, "name": file.name}, "split": body.split, "ids": body.ids, "name": name}
    spec = ScoreSpec.parse({**truth, **told, "threads": selectors.lane_threads(body.lane)})
    job = services.job_create(spec=spec, user=caller(request), title=f"{name} · {of}", lane=body.lane, idempotency_key=key)
    return Status(201, job_out(job))


@router.post("/bundles", response={201: JobOut, 422: Problem}, operation_id="bundle")
def bundle(request: HttpRequest, body: BundleIn) -> Status:
    """Take over an uploaded bundle (`python -m detection_core bundle`); the same bundle gives the same job."""
    return Status(201, job_out(bundle_import(artifact=_uploaded(body.sha256), user=caller(request))))


def _uploaded(sha256: str) -> Artifact:
    artifact = Artifact.objects.filter(sha256=sha256).first()
    if artifact is None:
        raise InvalidInput(f"no stored file has the sha256 {sha256}; send it to POST /api/v1/uploads first")
    return artifact


def _version(named: str) -> DatasetVersion:
    known = DatasetVersion.objects.filter(frozen=True).select_related("dataset").order_by("-id")
    version = known.filter(dataset__name=named).first() or known.filter(artifact_id=named).first()
    if version is None and _is_uuid(named):
        version = known.filter(uuid=named).first()
    if version is None:
        raise InvalidInput(f"no data set '{named}' is stored; import it first (GET /api/v1/datasets lists those that are)")
    return version


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
