"""Queueing from the browser: said in words before the button, refused with a sentence, never queued twice."""

from __future__ import annotations

import re

import pytest

from tests.factories import make_artifact, make_dataset_version, make_job, make_worker
from webapp.jobs.models import Job, JobOutput, Suite
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db

CLASSES = ["Platelets", "RBC", "WBC"]


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _pipeline(**fields):
    version = make_dataset_version()
    values = {
        "dataset": f"version:{version.uuid}",
        "models": ["fcos_resnet10_fpn", "ssd_resnet10", "fasterrcnn_resnet10_fpn"],
        "backends": ["eager", "onnxruntime"],
        "minutes": "4",
        "duration": "quick",
        "split": "test",
        "seed": "0",
        "lane": "cpu",
    }
    return values | fields


def _model_file(
    role="checkpoint_best", *, classes=CLASSES, name="best.safetensors", model="fcos_resnet10_fpn", family="fcos", kind="train", parent=None
):
    manifest = {"model": model, "family": family, "classes": classes, "parent_sha256": parent}
    job = make_job(kind, state=State.SUCCEEDED, title=f"{model} · bccd v1", result={"manifest": manifest})
    artifact = make_artifact(role, name)
    JobOutput.objects.create(job=job, role=role, name=name, artifact=artifact)
    return artifact


def test_queueing_needs_a_login(client):
    for answer in (client.get("/jobs/new"), client.post("/jobs/new", _pipeline()), client.get("/jobs/new/plan")):
        assert answer.status_code == 302
        assert answer.url.startswith("/login")
    assert not Job.objects.exists()


def test_every_detector_of_the_catalogue_can_be_chosen_the_small_ones_first(alice_client):
    from detection_core.catalogue.detectors import DETECTORS

    page = alice_client.get("/jobs/new").content.decode()
    order = re.findall(r'name="models" value="([^"]+)"', page)
    assert set(order) == set(DETECTORS)
    compact = [DETECTORS[name].compact for name in order]
    assert compact == sorted(compact, reverse=True)


def test_what_will_be_queued_is_said_in_words_before_the_button(alice_client):
    make_worker(lanes=["cpu"])
    plan = _text(alice_client.get("/jobs/new/plan", _pipeline()))
    assert (
        "18 jobs: 3 trainings of at most 4 min, 3 exports, 6 evaluations, 6 latency measurements (quick); about 20 min on lane cpu" in plan
    )
    assert "6 of 18 cannot run now. No worker of lane cpu can run the backend onnxruntime" in plan
    assert not Job.objects.exists()


def test_a_lane_without_a_worker_is_said_before_the_button(alice_client):
    assert "18 of 18 cannot run now. No living worker serves lane cpu" in _text(alice_client.get("/jobs/new/plan", _pipeline()))


def test_an_incomplete_form_asks_for_what_is_missing(alice_client):
    assert "Choose a data set and at least one detector" in _text(alice_client.get("/jobs/new/plan", _pipeline(models=[])))


def test_submitting_queues_the_pipeline_and_opens_its_page(alice_client, alice):
    answer = alice_client.post("/jobs/new", _pipeline())
    suite = Suite.objects.get()
    assert answer.url == f"/suites/{suite.uuid}"
    assert suite.created_by == alice
    assert suite.name == "3 models on bccd v1"
    train = suite.jobs.filter(kind="train").order_by("id").first()
    assert suite.jobs.count() == 18
    assert train.spec["recipe"]["max_minutes"] == 4.0
    assert train.state == State.QUEUED
    assert set(suite.jobs.filter(kind="benchmark").values_list("spec__duration", flat=True)) == {"quick"}


def test_a_built_in_data_set_is_imported_first(alice_client):
    alice_client.post("/jobs/new", _pipeline(dataset="builtin:fields", models=["ssd_resnet10"]))
    assert Job.objects.filter(state=State.QUEUED).values_list("kind", flat=True).get() == "import"
    assert Job.objects.filter(kind="train", state=State.WAITING).exists()


def test_pressing_the_button_twice_queues_once(alice_client):
    page = alice_client.get("/jobs/new").content.decode()
    token = re.search(r'name="token" value="([^"]+)"', page).group(1)
    first = alice_client.post("/jobs/new", _pipeline(token=token))
    second = alice_client.post("/jobs/new", _pipeline(token=token))
    assert first.url == second.url
    assert Suite.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("models", [], "choose at least one detector"),
        ("backends", [], "choose at least one backend"),
        ("minutes", "0", "greater than or equal to 0.1"),
        ("input_size", "250", "use a multiple of 32, such as 256 or 320"),
        ("seed", "-1", "greater than or equal to 0"),
        ("models", ["yolo99"], "yolo99 is not one of the available choices"),
        ("dataset", "version:6a0e4b62-4b53-4a43-8d7d-2f2f6f6d0c11", "is not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_at_the_field_and_at_the_top_and_nothing_is_queued(alice_client, field, value, sentence):
    answer = alice_client.post("/jobs/new", _pipeline(**{field: value}))
    assert answer.status_code == 400
    text = _text(answer)
    assert text.count(sentence) >= 2
    assert "Nothing was queued" in text
    assert not Job.objects.exists()


def test_a_refused_form_keeps_what_was_chosen(alice_client):
    page = alice_client.post("/jobs/new", _pipeline(minutes="7", seed="x")).content.decode()
    assert re.search(r'value="fcos_resnet10_fpn" id="[^"]+" checked', page)
    assert 'name="minutes" value="7"' in page


def test_a_data_set_without_the_split_is_refused_with_the_splits_it_has(alice_client):
    version = make_dataset_version()
    version.splits["test"] = {"images": 0, "boxes": 0, "per_class": {}}
    version.save()
    answer = alice_client.post("/jobs/new", _pipeline())
    assert "bccd v1 has no test images, only train and val; choose another data set or split" in _text(answer)
    assert not Job.objects.exists()


def test_one_training_is_queued_with_its_recipe(alice_client):
    version = make_dataset_version()
    fields = {
        "model": "ssd_resnet10",
        "dataset": str(version.uuid),
        "minutes": "",
        "epochs": "3",
        "batch_size": "4",
        "seed": "5",
        "lane": "cpu",
    }
    answer = alice_client.post("/jobs/new?kind=train", fields)
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.uuid}"
    recipe = job.spec["recipe"]
    assert (recipe["epochs"], recipe["max_minutes"], recipe["batch_size"], recipe["seed"]) == (3, None, 4, 5)
    assert job.spec["dataset"]["sha256"] == version.artifact_id
    assert job.title == "ssd_resnet10 · bccd v1"


def test_a_training_that_nothing_would_end_is_refused(alice_client):
    version = make_dataset_version()
    fields = {"model": "ssd_resnet10", "dataset": str(version.uuid), "batch_size": "8", "seed": "0", "lane": "cpu"}
    assert "give minutes or epochs, so that the training ends" in _text(alice_client.post("/jobs/new?kind=train", fields))


def _training(**fields):
    version = make_dataset_version()
    values = {"dataset": str(version.uuid), "model": "fastestdet", "minutes": "3", "batch_size": "8", "seed": "0", "lane": "cpu"}
    return values | fields


def test_a_training_may_start_from_a_checkpoint_of_the_same_family(alice_client):
    make_dataset_version()
    brought = _model_file(model="drone", family="fastestdet", classes=["crop"], kind="import_model")
    page = alice_client.get("/jobs/new?kind=train")
    assert "Start from" in _text(page) and "random weights" in _text(page) and "drone · weights from elsewhere" in _text(page)
    answer = alice_client.post("/jobs/new?kind=train", _training(weights=brought.sha256))
    job = Job.objects.get(state=State.QUEUED)
    assert answer.url == f"/jobs/{job.uuid}"
    assert (job.spec["model"], job.spec["weights"]["sha256"], job.spec["weights"]["name"]) == (
        "fastestdet",
        brought.sha256,
        "best.safetensors",
    )


def test_a_training_without_a_choice_starts_from_random_weights(alice_client):
    _model_file(model="drone", family="fastestdet", kind="import_model")
    alice_client.post("/jobs/new?kind=train", _training())
    assert Job.objects.get(state=State.QUEUED).spec["weights"] is None


def test_a_training_takes_further_fields_of_a_recipe_as_json(alice_client):
    for written, words in (("{", "this is no JSON"), ("[1]", "this is no object"), ('{"mosaic": 1}', "is not known; remove it")):
        assert words in _text(alice_client.post("/jobs/new?kind=train", _training(recipe=written)))
    assert not Job.objects.exists()
    alice_client.post("/jobs/new?kind=train", _training(recipe='{"augmentation": {"mosaic": 0.5}, "accumulate": 2}'))
    recipe = Job.objects.get().spec["recipe"]
    assert (recipe["augmentation"]["mosaic"], recipe["accumulate"]) == (0.5, 2)


def test_a_training_may_start_from_published_weights_where_there_are_any(alice_client):
    refused = alice_client.post("/jobs/new?kind=train", _training(model="ssd_resnet10", weights="published"))
    assert "nobody publishes weights for ssd_resnet10; start at random" in _text(refused)
    assert not Job.objects.exists()
    alice_client.post("/jobs/new?kind=train", _training(model="fcos_resnet18_fpn", weights="published"))
    assert Job.objects.get().spec["weights"]["ref"] == "published"


def test_a_training_from_a_checkpoint_of_another_family_is_refused(alice_client):
    other = _model_file()
    answer = alice_client.post("/jobs/new?kind=train", _training(weights=other.sha256))
    assert "the checkpoint is of fcos_resnet10_fpn, family fcos, and fastestdet is of fastestdet; choose" in _text(answer)
    assert not Job.objects.filter(state=State.QUEUED).exists()


def test_the_export_of_a_checkpoint_from_elsewhere_is_measured_like_the_checkpoint_itself(alice_client):
    version, model = make_dataset_version(), {"model": "drone", "family": "fastestdet", "classes": ["RBC", "tree"]}
    brought = _model_file(**model, kind="import_model")
    exported = _model_file("exported_model", **model, name="model.onnx", kind="export", parent=brought.sha256)
    for file in (brought, exported):
        values = {"artifact": file.sha256, "dataset": str(version.uuid), "split": "test", "lane": "cpu"}
        assert alice_client.post("/jobs/new?kind=evaluate", values).status_code == 302
    assert Job.objects.filter(state=State.QUEUED, kind="evaluate").count() == 2
    page = _text(alice_client.get("/jobs/new?kind=evaluate"))
    assert "drone · ONNX file from elsewhere" in page and "drone · weights from elsewhere" in page


def test_an_export_starts_from_a_checkpoint(alice_client):
    artifact = _model_file()
    alice_client.post("/jobs/new?kind=export", {"checkpoint": artifact.sha256, "lane": "cpu"})
    assert Job.objects.get(kind="export").spec["checkpoint"]["sha256"] == artifact.sha256


@pytest.mark.parametrize(
    ("role", "name", "backend"), [("checkpoint_best", "best.safetensors", "eager"), ("exported_model", "model.onnx", "onnxruntime")]
)
@pytest.mark.parametrize("kind", ["evaluate", "benchmark"])
def test_a_measurement_runs_on_the_backend_of_its_file(alice_client, role, name, backend, kind):
    artifact = _model_file(role, name=name)
    version = make_dataset_version()
    fields = {
        "artifact": artifact.sha256,
        "dataset": str(version.uuid),
        "split": "test",
        "lane": "cpu",
        "duration": "standard",
        "threads": "2",
    }
    alice_client.post(f"/jobs/new?kind={kind}", fields)
    spec = Job.objects.get(kind=kind).spec
    assert (spec["artifact"]["sha256"], spec["backend"], spec["dataset"]["sha256"]) == (artifact.sha256, backend, version.artifact_id)
    if kind == "benchmark":
        assert (spec["duration"], spec["threads"]) == ("standard", 2)


def test_a_model_that_knows_other_classes_is_refused(alice_client):
    artifact = _model_file(classes=["crop", "weed"])
    version = make_dataset_version()
    fields = {"artifact": artifact.sha256, "dataset": str(version.uuid), "split": "test", "lane": "cpu"}
    answer = alice_client.post("/jobs/new?kind=evaluate", fields)
    assert "knows the classes crop, weed, and bccd v1 has Platelets, RBC, WBC; choose a data set with the same classes" in _text(answer)
    assert not Job.objects.filter(kind="evaluate").exists()


def test_where_nothing_can_be_chosen_the_page_says_what_to_do_first(alice_client):
    assert "No data set is stored yet" in _text(alice_client.get("/jobs/new?kind=train"))
    assert "There is no model file yet" in _text(alice_client.get("/jobs/new?kind=export"))
    make_dataset_version()
    assert "There is no model file yet" in _text(alice_client.get("/jobs/new?kind=benchmark"))


def test_a_link_may_choose_beforehand(alice_client):
    version = make_dataset_version()
    page = alice_client.get(f"/jobs/new?dataset=version:{version.uuid}&models=ssd_resnet18").content.decode()
    assert re.search(r'value="ssd_resnet18" id="[^"]+" checked', page)
    assert f'<option value="version:{version.uuid}" selected>' in page
    assert "6 jobs: 1 training of at most 4 min" in page
