"""Bundles on the site: known by content, marked with their origin wherever a number is shown, the same job however often they come."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import ExportResult
from tests import bundles
from tests.factories import make_artifact, make_checkpoint, make_dataset_version, make_job, make_result, manifest_of
from tests.gallery_factories import make_evaluated, make_fields
from webapp.accounts.services import token_create
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open, artifact_put
from webapp.datasets.models import DatasetVersion
from webapp.jobs.forms.single import ExportForm
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import State
from webapp.results.bundles import bundle_import
from webapp.results.export import board_csv
from webapp.results.models import Checkpoint, ExportedModel, Result
from webapp.results.services import job_record

pytestmark = pytest.mark.django_db
ORIGIN = "cpu-lab: A faraway CPU"
BADGE = f"offline, measured on {ORIGIN}"


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    """Keep uploads and artifacts of a test to itself."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}
    return tmp_path


@pytest.fixture
def known() -> dict[str, Any]:
    """A model file and a data set version that the site has, as a bundle names them."""
    version = make_dataset_version("fields", classes=bundles.CLASSES)
    model = make_result(dataset_version=version, p50_ms=None, ap=None).exported_model
    Result.objects.all().delete()
    return {"artifact": model.artifact_id, "dataset": version.content_hash, "manifest": model.manifest}


@pytest.fixture
def make(tmp_path):
    """Pack a job and store the bundle as an upload."""

    def made(spec: dict, result: dict, files: dict | None = None, *, name: str = "job") -> Artifact:
        path = bundles.bundle(tmp_path / name, spec, result, files)
        return artifact_put(path=path, kind="upload", name=path.name)

    return made


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_an_evaluation_becomes_a_succeeded_job_and_a_result_that_say_where_they_come_from(make, known, alice):
    job = bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    assert (job.state, job.kind, job.origin, job.created_by) == (State.SUCCEEDED, "evaluate", ORIGIN, alice)
    row = Result.objects.get()
    assert (row.ap, row.origin, row.evaluation.job) == (0.41, ORIGIN, job)
    with artifact_open(row.evaluation.detections) as file:
        assert file.read(2) == b"\x1f\x8b"
    assert set(job.outputs.values_list("role", flat=True)) == {"detections", "bundle"}


def test_the_stored_spec_names_files_of_this_site(make, known, alice):
    job = bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    version = DatasetVersion.objects.get()
    assert job.spec["dataset"]["sha256"] == version.artifact_id
    assert job.spec["artifact"]["sha256"] == known["artifact"]
    assert "secret place" not in json.dumps(job.spec) + json.dumps(job.result)


def test_curves_and_warnings_of_the_job_are_kept(make, known, alice):
    job = bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    events = list(JobEvent.objects.filter(job=job).order_by("seq"))
    assert [event.type for event in events] == ["move", "warning", "metric"]
    assert job.event_seq == 3
    assert events[0].data["why"] == f"done on {ORIGIN}, brought in as a bundle"
    assert events[2].data == {"step": 1, "epoch": 1.0, "values": {"loss": 1.5}}


def test_the_same_bundle_twice_gives_the_same_job(make, known, alice, bob):
    first = bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    again = bundle_import(artifact=make(*bundles.evaluation(**known), name="again"), user=bob)
    assert first == again and Job.objects.filter(kind="evaluate", origin=ORIGIN).count() == 1
    assert Result.objects.count() == 1


def test_an_evaluation_and_a_latency_from_bundles_become_one_marked_row(make, known, alice):
    bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    bundle_import(artifact=make(*bundles.latency(**known), name="latency"), user=alice)
    row = Result.objects.get()
    assert (row.complete, row.ap, row.p50_ms, row.origin) == (True, 0.41, 9.0, ORIGIN)


def test_a_training_brings_a_checkpoint_that_an_export_and_an_evaluation_can_follow(make, alice):
    version = make_dataset_version("fields", classes=bundles.CLASSES)
    spec, result, files = bundles.training(dataset=version.content_hash)
    roles = {"best.safetensors": "checkpoint_best", "last.safetensors": "checkpoint_last"}
    job = bundle_import(artifact=make(spec, result, {name: (roles[name], content) for name, content in files.items()}), user=alice)
    best = Checkpoint.objects.get(role="best")
    assert (best.job, best.model, best.dataset_version) == (job, "fcos_resnet10_fpn", version)
    assert best.artifact_id == bundles.sha(files["best.safetensors"])
    told = {"artifact": best.artifact_id, "dataset": version.content_hash, "manifest": result["manifest"]}
    evaluation, found = bundles.evaluation(**told)
    bundle_import(artifact=make(evaluation | {"backend": "eager"}, found | {"backend": "eager"}, name="evaluated"), user=alice)
    assert Result.objects.get().checkpoint == best
    assert best.artifact_id in ExportForm().made
    exported = exported_here(best, result)
    told = {"artifact": exported.artifact_id, "dataset": version.content_hash, "manifest": exported.manifest}
    bundle_import(artifact=make(*bundles.evaluation(**told), name="evaluated export"), user=alice)
    bundle_import(artifact=make(*bundles.latency(**told), name="timed export"), user=alice)
    row = Result.objects.get(latency__isnull=False)
    assert (row.exported_model, row.checkpoint, row.complete, row.origin) == (exported, best, True, ORIGIN)


def exported_here(best: Checkpoint, training: dict[str, Any]) -> ExportedModel:
    """The export of a checkpoint as a worker of the site makes it."""
    artifact = make_artifact("exported_model", "model.onnx")
    manifest = {**training["manifest"], "format": "onnx", "parent_sha256": best.artifact_id}
    told = {"path": "model.onnx", "sha256": artifact.sha256, "manifest": manifest, "max_abs_difference": 1e-6, "files": []}
    result = ExportResult.parse({**told, "environment": training["environment"]})
    job_record(job=make_job("export"), result=result, outputs={"exported_model": artifact})
    return ExportedModel.objects.get(artifact=artifact)


def test_a_bundle_whose_model_file_is_not_here_is_refused_and_says_what_to_send_first(make, known, alice):
    known["artifact"] = "e" * 64
    with pytest.raises(
        InvalidInput,
        match=r"model file fcos_resnet10_fpn \(sha256 eeeeeeeeeeee…\) is not on this site; a checkpoint comes with the bundle of",
    ):
        bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    assert not Job.objects.filter(origin__gt="").exists() and not Result.objects.exists()


def test_a_bundle_whose_data_set_is_not_here_is_refused_and_says_what_to_import_first(make, known, alice):
    known["dataset"] = "f" * 64
    with pytest.raises(InvalidInput, match=r"fields v1, content ffffffffffff…\) is not here; import it first"):
        bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)


def test_a_preview_is_not_a_data_set_to_measure_on(make, known, alice):
    DatasetVersion.objects.update(frozen=False)
    with pytest.raises(InvalidInput, match="import it first"):
        bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)


def test_a_bundle_that_tells_another_manifest_than_the_file_is_refused(make, known, alice):
    known["manifest"] = {**known["manifest"], "model": "retinanet_resnet10_fpn"}
    with pytest.raises(InvalidInput, match="another 'model' of the model file than the file itself"):
        bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    known["manifest"] = {**known["manifest"], "model": "fcos_resnet10_fpn", "licence": "MIT"}
    with pytest.raises(InvalidInput, match="another 'licence' of the model file than the file itself"):
        bundle_import(artifact=make(*bundles.evaluation(**known), name="licence"), user=alice)


def test_an_evaluation_of_a_part_of_the_split_is_refused(make, known, alice):
    spec, result = bundles.evaluation(**known)
    result = {**result, "images": 40, "audit": {**result["audit"], "images": 40}}
    with pytest.raises(InvalidInput, match="of 40 images, and fields v1 has 72 in test; run the job on the whole split"):
        bundle_import(artifact=make(spec, result), user=alice)


def test_an_idempotency_key_of_a_person_does_not_stand_for_a_bundle(make, known, alice, monkeypatch):
    artifact = make(*bundles.evaluation(**known))
    job = bundle_import(artifact=artifact, user=alice)
    Job.objects.filter(pk=job.pk).update(origin="")
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        bundle_import(artifact=artifact, user=alice)


def test_our_own_evaluation_is_paired_with_our_own_latency_before_one_from_a_bundle(make, known, alice):
    from tests.webapp.results_services.test_pairs_and_fronts import evaluated, timed

    version = DatasetVersion.objects.get()
    checkpoint = make_checkpoint("fcos_resnet10_fpn", dataset_version=version)
    evaluated(checkpoint, version, ap=0.5)
    Checkpoint.objects.update(model="fcos_resnet10_fpn")
    manifest = manifest_of("fcos_resnet10_fpn", form="safetensors", dtype="fp32", classes=bundles.CLASSES)
    spec, result = bundles.evaluation(artifact=checkpoint.artifact_id, dataset=version.content_hash, ap=0.9, manifest=manifest)
    bundle_import(artifact=make(spec | {"backend": "eager"}, result | {"backend": "eager"}), user=alice)
    timed(checkpoint, version)
    row = Result.objects.get(latency__isnull=False)
    assert (row.ap, row.origin) == (0.5, "")


def test_every_page_and_the_api_say_that_a_number_came_from_elsewhere(make, known, alice, client):
    bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    job = bundle_import(artifact=make(*bundles.latency(**known), name="latency"), user=alice)
    row = Result.objects.get()
    for address in (
        "/leaderboard",
        f"/results/{row.uuid}",
        f"/jobs/{job.uuid}",
        f"/models/{row.model}/results",
        f"/?group={row.group_key}",
    ):
        assert BADGE in text_of(client.get(address)), address
    assert "did not measure again" in text_of(client.get(f"/results/{row.uuid}"))
    assert client.get("/api/v1/results").json()["items"][0]["origin"] == ORIGIN
    assert client.get(f"/api/v1/jobs/{job.uuid}").json()["origin"] == ORIGIN
    assert ORIGIN in board_csv([row])


def test_pages_that_set_bundle_numbers_beside_others_say_so_too(make, alice, client):
    version = make_fields(images=3, size=128)
    there, here = make_evaluated(version, model="fcos_resnet50_fpn"), make_evaluated(version, skill=0.5)
    Job.objects.filter(pk=there.job.pk).update(origin=ORIGIN)
    row = Result.objects.get(evaluation__job=there.job)
    Result.objects.filter(pk=row.pk).update(origin=ORIGIN)
    other = Result.objects.get(evaluation__job=here.job)
    image = there.ground_truth["images"][0]["id"]
    looked = f"/evaluations/{there.job.uuid}"
    marked = {
        "/published": 1,
        f"/models/{row.model}/claims": 1,
        f"/models/{row.model}/results": 1,
        f"/compare?results={row.uuid},{other.uuid}": 1,
        looked: 1,
        f"{looked}/images": 1,
        f"{looked}/images/{image}": 1,
        f"{looked}/suspects": 1,
        f"{looked}/differences": 1,
        f"{looked}/differences/{here.job.uuid}": 1,
        f"/evaluations/{here.job.uuid}/differences/{there.job.uuid}": 1,
        f"/evaluations/{here.job.uuid}/images": 0,
    }
    assert {address: text_of(client.get(address)).count(BADGE) for address in marked} == marked
    assert f"Right: {BADGE}" in text_of(client.get(f"/evaluations/{here.job.uuid}/differences/{there.job.uuid}"))
    Job.objects.filter(pk=here.job.pk).update(origin="cpu-lab: another CPU")
    both = text_of(client.get(f"{looked}/differences/{here.job.uuid}"))
    assert f"Left: {BADGE}" in both and "Right: offline, measured on cpu-lab: another CPU" in both


def test_an_evaluation_from_elsewhere_without_images_says_where_it_comes_from(make, known, alice, client):
    job = bundle_import(artifact=make(*bundles.evaluation(**known)), user=alice)
    assert BADGE in text_of(client.get(f"/evaluations/{job.uuid}"))
    assert BADGE in text_of(client.get(f"/evaluations/{job.uuid}/images"))


def test_our_own_results_carry_no_such_mark(client):
    make_result()
    assert "offline, measured on" not in text_of(client.get("/leaderboard"))


# the page


def send(client, path: Path, **options: Any):
    return client.post("/bundles/new", {"file": SimpleUploadedFile(path.name, path.read_bytes())}, **options)


def test_the_page_needs_a_login(client, tmp_path):
    assert client.get("/bundles/new").url.startswith("/login")


def test_a_bundle_from_the_page_opens_its_job(alice_client, known, tmp_path):
    answer = send(alice_client, bundles.bundle(tmp_path / "job", *bundles.evaluation(**known)))
    job = Job.objects.get(origin=ORIGIN)
    assert answer.url == f"/jobs/{job.uuid}"


def test_a_refused_bundle_leaves_nothing_and_says_why(alice_client, known, tmp_path, settings):
    known["artifact"] = "e" * 64
    before = set(Artifact.objects.values_list("sha256", flat=True))
    answer = send(alice_client, bundles.bundle(tmp_path / "job", *bundles.evaluation(**known)), headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert "is not on this site" in answer.json()["problems"][0]
    assert set(Artifact.objects.values_list("sha256", flat=True)) == before
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())


def test_a_refused_bundle_leaves_an_upload_of_the_same_bytes_that_a_queued_job_names(alice_client, known, tmp_path):
    known["artifact"] = "e" * 64
    path = bundles.bundle(tmp_path / "job", *bundles.evaluation(**known))
    earlier = artifact_put(path=path, kind="upload", name="results.tar")
    make_job("score", state=State.QUEUED, spec={"predictions": {"sha256": earlier.sha256, "name": earlier.name}})
    assert send(alice_client, path).status_code == 400
    with artifact_open(Artifact.objects.get(pk=earlier.pk)) as file:
        assert file.read() == path.read_bytes()


def test_a_training_that_began_with_weights_which_are_not_here_is_refused_and_leaves_nothing(make, known, alice):
    spec, result, files = bundles.training(dataset=known["dataset"])
    spec["weights"] = {"sha256": "9" * 64, "name": "w.safetensors"}
    roles = {"best.safetensors": "checkpoint_best", "last.safetensors": "checkpoint_last"}
    bundle = make(spec, result, {name: (roles[name], content) for name, content in files.items()})
    before = set(Artifact.objects.values_list("sha256", flat=True))
    with pytest.raises(InvalidInput, match="field 'weights': no stored file has the sha256 9999"):
        bundle_import(artifact=bundle, user=alice)
    assert set(Artifact.objects.values_list("sha256", flat=True)) == before and not Checkpoint.objects.filter(job__origin=ORIGIN)


def test_a_file_beyond_the_limit_is_refused(alice_client, known, tmp_path, settings):
    settings.UPLOAD_MAX_BYTES = 1000
    answer = send(alice_client, bundles.bundle(tmp_path / "job", *bundles.evaluation(**known)))
    assert answer.status_code == 413 and "the most that this site takes" in text_of(answer)


# the API


def test_the_api_takes_an_uploaded_bundle(client, alice, known, tmp_path):
    bearer = {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}
    path = bundles.bundle(tmp_path / "job", *bundles.evaluation(**known))
    stored = client.post("/api/v1/uploads?name=b.tar", path.read_bytes(), content_type="application/octet-stream", headers=bearer).json()
    body = {"sha256": stored["sha256"]}
    answer = client.post("/api/v1/bundles", body, content_type="application/json", headers=bearer)
    assert answer.status_code == 201 and answer.json()["origin"] == ORIGIN
    again = client.post("/api/v1/bundles", body, content_type="application/json", headers=bearer)
    assert again.json()["uuid"] == answer.json()["uuid"]
    assert client.post("/api/v1/bundles", body, content_type="application/json").status_code == 401
    unknown = client.post("/api/v1/bundles", {"sha256": "0" * 64}, content_type="application/json", headers=bearer)
    assert unknown.status_code == 422 and "POST /api/v1/uploads first" in unknown.json()["detail"]
