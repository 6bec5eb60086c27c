"""No job reads a version that may still change."""

from __future__ import annotations

import pytest

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ImportSpec, ScoreSpec, TrainSpec
from tests.factories import make_artifact, make_dataset_version
from webapp.datasets.models import DatasetVersion
from webapp.datasets.services import dataset_freeze
from webapp.jobs.forms.pipeline import PipelineForm
from webapp.jobs.services import PlannedJob, job_create, suite_create

pytestmark = pytest.mark.django_db


@pytest.fixture
def preview() -> DatasetVersion:
    version = make_dataset_version("bccd")
    DatasetVersion.objects.update(frozen=False)
    version.refresh_from_db()
    return version


def _specs(version: DatasetVersion) -> list:
    data, model = InputFile(sha256=version.artifact_id), InputFile(sha256=make_artifact().sha256)
    return [
        TrainSpec(model="fcos_resnet10_fpn", dataset=data),
        EvaluateSpec(artifact=model, backend="eager", dataset=data),
        BenchmarkSpec(artifact=model, backend="eager", dataset=data),
        ScoreSpec(dataset=data, predictions=model),
    ]


@pytest.mark.parametrize("place", range(4), ids=["train", "evaluate", "benchmark", "score"])
def test_a_preview_is_refused_with_the_address_of_its_page(preview, settings, place):
    spec = _specs(preview)[place]
    address = f"{settings.SITE_URL}/datasets/{preview.dataset.uuid}?version={preview.uuid}"
    with pytest.raises(InvalidInput) as refused:
        job_create(spec=spec)
    assert str(refused.value) == f"field 'dataset': bccd v1 is a preview; look at it and freeze it first: {address}"
    dataset_freeze(version=preview)
    assert job_create(spec=spec).state == "queued"


def test_a_job_cannot_wait_for_a_preview(preview):
    data = PlannedJob(alias="data", spec=ImportSpec(source=InputFile(ref="fields"), name="fields", preview=True))
    train = PlannedJob(alias="train", spec=_specs(preview)[0], needs={"dataset": ("data", "dataset")})
    with pytest.raises(InvalidInput, match="makes a preview, which no job may use before it is frozen"):
        suite_create(name="both", user=None, jobs=[data, train])


def test_forms_offer_frozen_versions_only_and_point_to_the_previews(preview, alice_client):
    assert PipelineForm().versions == {}
    page = alice_client.get("/jobs/new").content.decode()
    assert f'<a href="/datasets/{preview.dataset.uuid}?version={preview.uuid}">bccd v1</a> is a preview' in page
    dataset_freeze(version=preview)
    assert list(PipelineForm().versions) == [str(preview.uuid)]
    assert "is a preview" not in alice_client.get("/jobs/new").content.decode()
