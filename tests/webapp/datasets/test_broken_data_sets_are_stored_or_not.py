"""What the import of a broken data set ends in, as a worker records it: a version that the database can hold and the site can show, or a
failure that is the person's to mend and no version at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.urls import reverse

from detection_core.operations.run import THREAD_VARIABLES
from detection_core.schemas.results import ImportResult
from tests.detection_core.data.test_broken_data_sets import KINDS, Broken, run_limited
from tests.webapp.jobs_services.helpers import running
from webapp.artifacts.services import artifact_put
from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job
from webapp.jobs.services import job_fail, job_succeed
from webapp.results.services import job_record
from workers.failures import ending_of

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))


def recorded(kind: Broken, folder: Path) -> Job:
    """Import a data set of this kind and record the end of its job."""
    place = kind.make(folder / "broken") or folder / "broken"
    out = folder / "out"
    out.mkdir()
    spec = {"kind": "import", "source": {"ref": str(place), "name": place.name}, "name": "broken", "preview": True}
    (folder / "spec.json").write_text(json.dumps(spec))
    job, status = running(), run_limited(folder / "spec.json", out)
    if not (out / "result.json").exists():
        failure = ending_of(status=status, folder=out, log_tail="", killed_for_memory=False).failure
        return job_fail(job=job, attempt=job.attempt, kind=failure.kind, message=failure.message)
    result = ImportResult.parse((out / "result.json").read_bytes())
    outputs = {"dataset": artifact_put(path=out / "dataset.tar", kind="dataset", name="dataset.tar")}
    job = job_succeed(job=job, attempt=job.attempt, result=result, outputs=outputs)
    job_record(job=job, result=result, outputs=outputs)
    return job


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_the_end_of_a_broken_data_set_is_recorded(kind, client, tmp_path):
    job = recorded(kind, tmp_path)
    job.refresh_from_db()
    versions = list(DatasetVersion.objects.all())
    if kind.refused:
        assert (job.state, job.failure_kind, versions) == ("failed", "user", [])
        assert kind.file in job.failure_message
        return
    (version,) = versions
    assert (job.state, version.dataset.name) == ("succeeded", "broken")
    assert kind.file in {issue["file"] for issue in version.report["issues"]}
    page = client.get(reverse("dataset-detail", args=[version.dataset.uuid]))
    assert page.status_code == 200 and len(page.context["gallery"]) > 0
