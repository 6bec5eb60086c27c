"""Bringing a model or a file of detections in from the browser, by the API and with the client."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser

from detection_core.catalogue.layouts import LAYOUTS
from detection_core.schemas.results import ImportModelResult
from tests.factories import environment_fields, make_artifact, make_dataset_version, make_job, manifest_of, metrics_of, sha
from webapp.accounts.services import token_create
from webapp.artifacts.models import Artifact
from webapp.client.api import Access, Client
from webapp.client.cli import LAYOUTS as CLIENT_LAYOUTS
from webapp.client.cli import main
from webapp.jobs.models import Job, JobDependency, JobOutput, Suite
from webapp.jobs.states import State
from webapp.results.models import Checkpoint, ExportedModel
from webapp.results.services import job_record

pytestmark = pytest.mark.django_db
AUDIT = {"engine": "pycocotools 2.0.11", "images": 5, "max_abs_difference": 0.0}


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    """Keep uploads and artifacts of a test to itself."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}
    return tmp_path


@pytest.fixture
def bearer(alice) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


WEIGHTS = b"PK\x03\x04 as torch.save begins"


def bring(client, file_name: str = "YOLOX Nano.onnx", content: bytes = b"graph", *, headers: dict | None = None, **fields):
    form = {"file": SimpleUploadedFile(file_name, content), "layout": "yolox", "classes": "crop\nweed", "lane": "cpu"}
    return client.post("/models/import", form | fields, headers=headers or {})


def score(client, content: bytes = b"[]", *, headers: dict | None = None, **fields):
    form = {"predictions": SimpleUploadedFile("detections.json", content), "truth": "upload", "split": "test", "lane": "cpu"}
    return client.post("/score", form | fields, headers=headers or {})


# a model


@pytest.mark.parametrize("path", ["/models/import", "/score"])
def test_bringing_something_in_needs_a_login(client, path):
    assert client.get(path).url.startswith("/login")
    assert bring(client).url.startswith("/login") and score(client).url.startswith("/login")
    assert not Artifact.objects.exists()


def test_the_models_page_and_the_job_form_lead_there(alice_client):
    assert 'href="/models/import"' in alice_client.get("/models").content.decode()
    page = alice_client.get("/jobs/new").content.decode()
    assert 'href="/score"' in page and "Score a results file" in page and 'href="/models/import"' in page


def test_every_layout_stands_on_the_page_with_a_sentence_its_shape_and_its_defaults(alice_client):
    page = text_of(alice_client.get("/models/import"))
    for layout in LAYOUTS.values():
        assert layout.title in page and layout.about.replace("'", "&#x27;") in page and layout.outputs in page
    assert "Empty: RGB with Anchor-free (4 + C rows), End to end (N × 6); BGR with the others." in page


def test_the_layouts_of_page_client_and_schema_are_the_same():
    from detection_core.schemas.specs import ImportModelSpec

    allowed = ImportModelSpec.model_json_schema()["properties"]["layout"]["enum"]
    assert list(LAYOUTS) == allowed == list(CLIENT_LAYOUTS)


def test_a_model_file_is_stored_by_hash_and_its_import_opens(alice_client, alice):
    answer = bring(alice_client, class_map="crop = plant", licence="Apache-2.0", input_height="416", input_width="416", mean="0, 0 0.5")
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.uuid}"
    assert (job.kind, job.title, job.created_by) == ("import_model", "yolox-nano · YOLOX", alice)
    told = {name: job.spec[name] for name in ("name", "layout", "classes", "class_map", "licence", "input_height", "mean", "resize", "std")}
    assert told == {
        "name": "yolox-nano",
        "layout": "yolox",
        "classes": ["crop", "weed"],
        "class_map": {"crop": "plant"},
        "licence": "Apache-2.0",
        "input_height": 416,
        "mean": [0.0, 0.0, 0.5],
        "resize": None,
        "std": None,
    }
    assert Artifact.objects.get(sha256=job.spec["file"]["sha256"]).name == "YOLOX Nano.onnx"
    assert "yolox-nano" in text_of(alice_client.get(answer.url))


def test_classes_can_be_those_of_a_data_set(alice_client):
    version = make_dataset_version("bccd")
    bring(alice_client, classes="", classes_from=str(version.uuid))
    assert Job.objects.get().spec["classes"] == version.classes


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"file": ""}, "Model file: This field is required."),
        ({"file_name": "model.pt"}, "'model.pt' is no model file; choose a file that ends in .onnx or .pth"),
        ({"file_name": "yolox.pth", "content": WEIGHTS}, "PyTorch weights are taken of FastestDet only"),
        ({"file_name": "yolox.onnx", "content": WEIGHTS}, "PyTorch weights are taken of FastestDet only"),
        ({"layout": "ssd"}, "Select a valid choice"),
        ({"classes": ""}, "give the class names, or choose the data set"),
        ({"classes_from": "yes"}, "give the class names, or choose the data set"),
        ({"class_map": "crop plant"}, "the line 'crop plant' is no mapping"),
        ({"class_map": "crop = a\ncrop = b"}, "'crop' stands there twice"),
        ({"class_map": "tree = plant"}, "field 'class_map': 'tree' is not one of the model's classes"),
        ({"mean": "1, 2"}, "write three numbers"),
        ({"std": "1, 0, 1"}, "write three numbers above 0"),
        ({"std": "a b c"}, "write three numbers"),
        ({"mean": "nan 0 0"}, "finite"),
        ({"name": "Größe!"}, "field 'name'"),
        ({"name": "fcos_resnet10_fpn"}, "is a model of the catalogue"),
        ({"measure": "on"}, "choose the data set to evaluate and time it on"),
        ({"measure": "on", "dataset": "yes"}, "none of the model's classes (crop, weed) is one of bccd v1 (Platelets, RBC, WBC)"),
        ({"content": b""}, "The submitted file is empty."),
    ],
)
def test_what_cannot_become_a_model_is_refused_with_a_sentence_and_nothing_stays(alice_client, fields, sentence):
    version = make_dataset_version("bccd")
    known = Artifact.objects.count()
    chosen = {name: str(version.uuid) if value == "yes" else value for name, value in fields.items()}
    answer = bring(
        alice_client, chosen.pop("file_name", "m.onnx"), chosen.pop("content", b"graph"), headers={"Accept": "application/json"}, **chosen
    )
    assert answer.status_code == 400
    assert sentence in " ".join(answer.json()["problems"])
    assert not Job.objects.exists()
    if "catalogue" not in sentence and "class_map'" not in sentence:
        assert Artifact.objects.count() == known


def test_evaluation_and_latency_wait_for_the_import_in_one_go(alice_client):
    version = make_dataset_version("fields", classes=("crop", "weed", "tree"))
    answer = bring(alice_client, measure="on", dataset=str(version.uuid), split="val", duration="quick")
    suite = Suite.objects.get()
    assert (answer.url, suite.name) == (f"/suites/{suite.uuid}", "yolox-nano on fields v1")
    first, *rest = suite.jobs.order_by("id")
    assert [(job.kind, job.state, job.spec["split"], job.spec["backend"]) for job in rest] == [
        ("evaluate", State.WAITING, "val", "onnxruntime"),
        ("benchmark", State.WAITING, "val", "onnxruntime"),
    ]
    needs = JobDependency.objects.values_list("needs", "field", "role")
    assert set(needs) == {(first.pk, "artifact", "exported_model")}
    page = text_of(alice_client.get(answer.url))
    assert "Bring in" in page and "yolox-nano" in page


def test_classes_that_only_one_side_knows_are_told_once_it_is_queued(alice_client):
    version = make_dataset_version("fields", classes=("crop", "grass"))
    answer = bring(alice_client, measure="on", dataset=str(version.uuid))
    page = text_of(alice_client.get(answer.url))
    assert "Classes of the model that fields v1 does not have: weed." in page and "count with AP 0: grass." in page
    again = bring(alice_client, measure="on", dataset=str(version.uuid), class_map="weed = grass", name="again")
    assert "import the model again with a class mapping" not in text_of(alice_client.get(again.url))


def test_weights_of_fastestdet_are_measured_with_pytorch(alice_client):
    version = make_dataset_version("fields", classes=("crop", "weed"))
    bring(alice_client, "fd.pth", WEIGHTS, layout="fastestdet", measure="on", dataset=str(version.uuid))
    assert set(JobDependency.objects.values_list("role", flat=True)) == {"checkpoint_best"}
    assert Job.objects.get(kind="evaluate").spec["backend"] == "eager"


def test_the_same_form_sent_twice_queues_once(alice_client):
    token = "00000000-0000-4000-8000-000000000001"
    assert bring(alice_client, token=token).url == bring(alice_client, token=token).url
    assert Job.objects.count() == 1


def test_a_model_file_beyond_the_limit_is_refused_and_nothing_stays(alice_client, settings, folders):
    settings.UPLOAD_MAX_BYTES = 100_000
    answer = bring(alice_client, content=b"x" * 300_000)
    assert answer.status_code == 413 and "the most that this site takes" in text_of(answer)
    assert not Artifact.objects.exists() and not [path for path in folders.rglob("*") if path.is_file()]


def test_the_forms_without_their_token_are_refused(alice):
    client = Browser(enforce_csrf_checks=True)
    client.force_login(alice)
    assert bring(client).status_code == 403 and score(client).status_code == 403


# what an import leaves


def imported(form: str = "onnx", classes: tuple[str, ...] = ("crop", "weed")) -> tuple[Job, Artifact]:
    """A finished import of a model, as a worker records it."""
    role = "exported_model" if form == "onnx" else "checkpoint_best"
    artifact = make_artifact(role, f"yolox-nano.{form}")
    manifest = manifest_of("yolox-nano", form=form, dtype="fp32", classes=classes) | {"family": "yolox"}
    told = {"path": artifact.name, "sha256": artifact.sha256, "manifest": manifest, "source_sha256": sha("source")}
    made = [{"role": role, "path": artifact.name, "sha256": artifact.sha256, "size": artifact.size}]
    result = ImportModelResult.parse({**told, "environment": environment_fields(), "files": made})
    spec = {"layout": "yolox", "name": "yolox-nano", "file": {"name": "YOLOX Nano.onnx", "sha256": sha("source")}, "classes": list(classes)}
    job = make_job("import_model", spec=spec, title="yolox-nano · YOLOX", result=result.to_dict())
    JobOutput.objects.create(job=job, role=role, name=artifact.name, artifact=artifact)
    job_record(job=job, result=result, outputs={role: artifact})
    return job, artifact


def test_an_imported_graph_is_an_exported_model_with_its_family_and_no_checkpoint():
    _, artifact = imported()
    model = ExportedModel.objects.get()
    assert (model.artifact, model.model, model.family, model.checkpoint) == (artifact, "yolox-nano", "yolox", None)
    assert not Checkpoint.objects.exists()


def test_imported_weights_are_a_checkpoint_besides():
    job, artifact = imported("safetensors")
    checkpoint = Checkpoint.objects.get()
    assert (checkpoint.job, checkpoint.artifact, checkpoint.metrics) == (job, artifact, None)
    assert ExportedModel.objects.get().checkpoint == checkpoint


def test_the_page_of_the_import_leads_to_measuring_the_model(alice_client):
    job, artifact = imported()
    page = alice_client.get(f"/jobs/{job.uuid}").content.decode()
    assert f"/jobs/new?kind=evaluate&amp;artifact={artifact.sha256}" in page and "Time it" in page
    assert "Model import" in page and "YOLOX Nano.onnx" in page


def test_an_imported_model_can_be_chosen_for_one_job_on_data_with_some_of_its_classes(alice_client):
    _, artifact = imported(classes=("crop", "weed", "tree"))
    version = make_dataset_version("fields", classes=("weed",))
    form = {"artifact": artifact.sha256, "dataset": str(version.uuid), "split": "test", "lane": "cpu"}
    page = alice_client.get("/jobs/new?kind=evaluate").content.decode()
    assert "ONNX file from elsewhere" in page
    assert alice_client.post("/jobs/new?kind=evaluate", form).status_code == 302
    other = make_dataset_version("bccd")
    refused = alice_client.post("/jobs/new?kind=evaluate", form | {"dataset": str(other.uuid)})
    assert "choose a data set with the same classes" in text_of(refused)


# a results file


def test_a_results_file_is_scored_on_a_data_set_of_the_site(alice_client):
    version = make_dataset_version("bccd")
    answer = score(alice_client, truth=str(version.uuid), name="my detector")
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.uuid}"
    assert (job.kind, job.title) == ("score", "my detector · bccd v1")
    assert (job.spec["dataset"]["sha256"], job.spec["split"], job.spec["ground_truth"]) == (version.artifact_id, "test", None)
    assert Artifact.objects.filter(sha256=job.spec["predictions"]["sha256"]).exists()


def test_a_results_file_is_scored_against_ground_truth_that_is_uploaded(alice_client):
    score(alice_client, ground_truth=SimpleUploadedFile("truth.json", b"{}"))
    job = Job.objects.get()
    assert job.title == "detections · truth.json" and job.spec["dataset"] is None
    assert Artifact.objects.filter(sha256=job.spec["ground_truth"]["sha256"]).exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"predictions": ""}, "Results file: This field is required."),
        ({}, "choose a data set, or upload the ground truth"),
        ({"predictions": SimpleUploadedFile("d.csv", b"x")}, "'d.csv' is no results file"),
        ({"truth": "yes", "split": "train"}, "bccd v1 has no train images, only val and test"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(alice_client, fields, sentence):
    version = make_dataset_version("bccd")
    version.splits["train"]["images"] = 0
    version.save()
    chosen = {name: str(version.uuid) if value == "yes" else value for name, value in fields.items()}
    answer = score(alice_client, headers={"Accept": "application/json"}, **chosen)
    assert answer.status_code == 400 and sentence in " ".join(answer.json()["problems"])
    assert not Job.objects.exists()


def test_the_page_of_a_scoring_shows_the_numbers_and_says_that_there_is_no_latency(client):
    result = {"kind": "score", "metrics": metrics_of(0.303), "images": 5, "detections": 1234, "engine": "hotcoco 1.3.0", "audit": AUDIT}
    job = make_job("score", spec={"name": "mine", "predictions": {"name": "d.json"}}, title="mine · bccd v1", result=result)
    page = text_of(client.get(f"/jobs/{job.uuid}"))
    assert "30.3 AP, COCO AP@[.5:.95]" in page and "1 234 detections on 5 images" in page
    assert "A results file has no latency, so it stands on no frontier and no leaderboard." in page
    assert f"/evaluations/{job.uuid}" in client.get(f"/jobs/{job.uuid}").content.decode()


# the API and the client


def stored(client, bearer, content: bytes = b"bytes", name: str = "m.onnx") -> str:
    answer = client.post(f"/api/v1/uploads?name={name}", content, content_type="application/octet-stream", headers=bearer)
    return answer.json()["sha256"]


def post(client, bearer, path: str, body: dict):
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=bearer)


def test_the_api_imports_a_model_and_measures_it(client, bearer):
    version = make_dataset_version("fields", classes=("crop",))
    spec = {"file": {"sha256": stored(client, bearer), "name": "m.onnx"}, "layout": "yolox", "name": "m", "classes": ["crop"]}
    answer = post(client, bearer, "/models/import", {"spec": spec, "dataset": "fields"})
    assert answer.status_code == 201, answer.content
    assert [job["kind"] for job in answer.json()["jobs"]] == ["import_model", "evaluate", "benchmark"]
    by_id = post(client, bearer, "/models/import", {"spec": spec, "dataset": str(version.uuid)})
    assert by_id.status_code == 201
    alone = post(client, bearer, "/jobs", {"spec": {"kind": "import_model", **spec}})
    assert alone.status_code == 201 and alone.json()["kind"] == "import_model"
    unknown = post(client, bearer, "/models/import", {"spec": spec, "dataset": "nothing"})
    assert unknown.status_code == 422 and "no data set 'nothing' is stored; import it first" in unknown.json()["detail"]
    assert post(client, {}, "/models/import", {"spec": spec}).status_code == 401


@pytest.mark.parametrize(
    ("name", "content", "backend"),
    [("", b"graph", "onnxruntime"), ("", WEIGHTS, "eager"), ("fd.onnx", WEIGHTS, "eager"), ("fd.pth", b"graph", "onnxruntime")],
)
def test_the_api_tells_weights_from_a_graph_by_the_bytes_whatever_the_file_is_called(client, bearer, name, content, backend):
    make_dataset_version("fields", classes=("crop",))
    spec = {"file": {"sha256": stored(client, bearer, content), "name": name}, "layout": "fastestdet", "name": "fd", "classes": ["crop"]}
    answer = post(client, bearer, "/models/import", {"spec": spec, "dataset": "fields"})
    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == "fd on fields v1"
    assert {job.spec["backend"] for job in Job.objects.exclude(kind="import_model")} == {backend}


def test_the_api_imports_only_a_file_that_was_uploaded(client, bearer):
    spec = {"file": {"name": "m.onnx"}, "layout": "yolox", "name": "m", "classes": ["crop"]}
    answer = post(client, bearer, "/models/import", {"spec": spec})
    assert answer.status_code == 422 and "send it to POST /api/v1/uploads, and give the sha256" in answer.json()["detail"]
    unknown = post(client, bearer, "/models/import", {"spec": spec | {"file": {"sha256": "0" * 64}}})
    assert unknown.status_code == 422 and "POST /api/v1/uploads first" in unknown.json()["detail"]


def test_the_api_scores_predictions(client, bearer):
    version = make_dataset_version("bccd")
    file = stored(client, bearer, b"[]", "d.json")
    answer = post(client, bearer, "/predictions", {"sha256": file, "dataset": "bccd", "split": "val"})
    assert answer.status_code == 201, answer.content
    spec = Job.objects.get().spec
    assert (spec["dataset"]["sha256"], spec["split"], spec["name"]) == (version.artifact_id, "val", "d.json")
    both = post(client, bearer, "/predictions", {"sha256": file, "dataset": "bccd", "ground_truth_sha256": file})
    assert both.status_code == 422 and "either dataset" in both.json()["detail"]
    missing = post(client, bearer, "/predictions", {"sha256": "0" * 64, "dataset": "bccd"})
    assert missing.status_code == 422 and "POST /api/v1/uploads first" in missing.json()["detail"]


class Site:
    """What a client sent, and a site that answers it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, dict]] = []
        transport = httpx.MockTransport(self.answer)
        monkeypatch.setattr(Access, "load", lambda path=None: Access(url="http://127.0.0.1:1", token="pbx_x"))
        made = Client.__init__

        def init(client: Client, access: Access, **options: object) -> None:
            made(client, access)
            client._http = httpx.Client(base_url="http://127.0.0.1:1/api/v1", transport=transport)

        monkeypatch.setattr(Client, "__init__", init)

    def answer(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        if request.url.path.endswith("/uploads"):
            return httpx.Response(201, json={"sha256": "a" * 64, "size": len(content), "name": request.url.params["name"]})
        self.sent.append((request.url.path, json.loads(content)))
        job = {"uuid": "1", "kind": "score", "title": "t", "state": "queued", "url": "http://x", "origin": "there"}
        return httpx.Response(201, json={**job, "jobs": [job]})


@pytest.fixture
def site(monkeypatch) -> Site:
    return Site(monkeypatch)


def test_the_command_imports_a_model_and_measures_it(site, tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"graph")
    (tmp_path / "classes.txt").write_text("crop\n\nweed\n")
    words = ["import-model", str(tmp_path / "m.onnx"), "--layout", "yolox", "--name", "m", "--classes", str(tmp_path / "classes.txt")]
    assert main([*words, "--map", "crop=plant", "--evaluate", "fields", "--split", "val", "--input-size", "416", "320"]) == 0
    ((path, body),) = site.sent
    assert path == "/api/v1/models/import" and (body["dataset"], body["split"]) == ("fields", "val")
    assert body["spec"]["classes"] == ["crop", "weed"] and body["spec"]["class_map"] == {"crop": "plant"}
    assert (body["spec"]["input_height"], body["spec"]["input_width"], body["spec"]["file"]["sha256"]) == (416, 320, "a" * 64)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["import-model", "m.onnx", "--layout", "yolox", "--name", "m", "--classes", "none.txt"], "none.txt is not a file"),
        (["score", "d.json"], "either --dataset (with --split) or --ground-truth"),
        (["bundle", "none.tar"], "none.tar is not a file"),
    ],
)
def test_the_commands_refuse_what_is_not_there(site, capsys, words, sentence):
    assert main(words) == 1
    assert sentence in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert site.sent == []


def test_the_command_scores_a_file(site, tmp_path: Path):
    (tmp_path / "d.json").write_text("[]")
    assert main(["score", str(tmp_path / "d.json"), "--dataset", "bccd", "--split", "val"]) == 0
    assert site.sent == [("/api/v1/predictions", {"sha256": "a" * 64, "dataset": "bccd", "split": "val", "name": "d.json"})]


def test_the_command_brings_a_bundle_in(site, tmp_path: Path, capsys):
    (tmp_path / "b.tar").write_bytes(b"tar")
    assert main(["bundle", str(tmp_path / "b.tar")]) == 0
    assert site.sent == [("/api/v1/bundles", {"sha256": "a" * 64})]
    assert "measured on there" in capsys.readouterr().err
