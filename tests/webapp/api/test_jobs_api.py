"""The API queues, shows, cancels and retries jobs; it says no in one sentence."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from tests.factories import make_artifact, make_dataset_version, make_job
from webapp.accounts.services import token_create, token_revoke
from webapp.jobs.models import Job, JobOutput, Suite

pytestmark = pytest.mark.django_db

PROBE = {"spec": {"kind": "probe"}}


@pytest.fixture
def bearer(alice) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}


def post(client: Client, path: str, body: dict, **headers: str):
    return client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json", headers=headers)


def test_a_token_queues_a_job(client, bearer):
    answer = post(client, "/jobs", PROBE, **bearer)
    assert answer.status_code == 201
    assert answer.json()["state"] == "queued"
    assert Job.objects.get().created_by.username == "alice"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer pbx_wrong"}], ids=["no token", "a wrong token"])
def test_without_a_valid_token_nothing_is_queued(client, headers):
    assert post(client, "/jobs", PROBE, **headers).status_code == 401
    assert not Job.objects.exists()


def test_a_revoked_token_is_refused(client, alice, bearer):
    token_revoke(user=alice, token_id=alice.tokens.get().id)
    assert post(client, "/jobs", PROBE, **bearer).status_code == 401


def test_the_token_itself_is_stored_nowhere(alice, bearer):
    plain = bearer["Authorization"].split()[1]
    stored = alice.tokens.values().get()
    assert all(plain not in str(value) for value in stored.values())


def test_reading_is_open_and_closed_by_the_setting(client, bearer, settings):
    make_job()
    assert client.get("/api/v1/jobs").json()["total"] == 1
    settings.PUBLIC_READ = False
    assert client.get("/api/v1/jobs").status_code == 401
    assert client.get("/api/v1/jobs", headers=bearer).status_code == 200


def test_the_same_idempotency_key_queues_once(client, bearer):
    first = post(client, "/jobs", PROBE, **bearer, **{"Idempotency-Key": "one"})
    second = post(client, "/jobs", PROBE, **bearer, **{"Idempotency-Key": "one"})
    assert first.json()["uuid"] == second.json()["uuid"]
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "train", "model": "yolo99", "dataset": {"sha256": "SHA"}}, ["yolo99", "catalogue"]),
        ({"kind": "train", "model": "fcos_resnet10_fpn", "dataset": {"sha256": "f" * 64}}, ["dataset", "upload"]),
        ({"kind": "train", "model": "fcos_resnet10_fpn", "dataset": {"sha256": "SHA"}, "colour": 1}, ["colour", "not known"]),
        ({"kind": "import", "name": "x", "source": {"ref": "/etc"}}, ["/etc", "built-in"]),
        ({"kind": "import", "name": "x", "source": {"url": "http://127.0.0.1/"}}, ["source", "sha256"]),
        ({"kind": "bake"}, ["kind", "bake"]),
    ],
    ids=["unknown model", "unknown file", "unknown field", "a path of the server", "an address", "unknown kind"],
)
def test_a_wrong_spec_is_refused_with_the_field_and_the_remedy_and_nothing_is_queued(client, bearer, spec, words):
    artifact = make_artifact("dataset", "d.tar")
    text = json.dumps({"spec": spec}).replace("SHA", artifact.sha256)
    answer = post(client, "/jobs", json.loads(text), **bearer)
    assert answer.status_code == 422
    assert all(word in answer.json()["detail"] for word in words), answer.json()
    assert not Job.objects.exists()


def test_a_training_is_queued_with_the_whole_recipe_that_it_was_given(client, bearer):
    version = make_dataset_version()
    mixing = {"mosaic": 1.0, "mixup": 0.1, "copy_paste": 0.3, "tile": 0.5, "multi_scale": 0.2}
    recipe = {"epochs": 3, "accumulate": 2, "schedule": "linear", "freeze": "backbone", "early_stop": 5, "augmentation": mixing}
    spec = {"kind": "train", "model": "fcos_resnet10_fpn", "dataset": {"sha256": version.artifact_id}, "recipe": recipe, "data_workers": 2}
    answer = post(client, "/jobs", {"spec": spec}, **bearer)
    assert answer.status_code == 201, answer.json()
    stored = Job.objects.get().spec
    assert stored["data_workers"] == 2 and stored["recipe"]["freeze"] == ["backbone"]
    assert {name: stored["recipe"][name] for name in ("epochs", "accumulate", "schedule", "early_stop")} == {
        name: recipe[name] for name in ("epochs", "accumulate", "schedule", "early_stop")
    }
    assert mixing.items() <= stored["recipe"]["augmentation"].items()


def test_a_pipeline_is_train_export_and_two_measurements_a_backend_for_each_model(client, bearer):
    version = make_dataset_version()
    body = {"models": ["fcos_resnet10_fpn", "ssd_resnet10"], "dataset_sha256": version.artifact_id, "dataset_name": "bccd", "minutes": 1}
    answer = post(client, "/suites", body, **bearer)
    assert answer.status_code == 201, answer.json()
    kinds = [job["kind"] for job in answer.json()["jobs"]]
    assert kinds == ["train", "export", "evaluate", "benchmark", "evaluate", "benchmark"] * 2
    states = {job["kind"]: job["state"] for job in answer.json()["jobs"]}
    assert states == {"train": "queued", "export": "waiting", "evaluate": "waiting", "benchmark": "waiting"}
    first, second = Suite.objects.get().jobs.filter(kind="train").order_by("id")
    assert first.priority > second.priority, "the first model's steps go before the second training"


def test_a_pipeline_takes_fields_of_a_recipe_for_all_its_models(client, bearer):
    version = make_dataset_version()
    loss = {"classification": {"loss": "focal", "gamma": 1.0}}
    recipe = {"augmentation": {"mosaic": 1.0}, "schedule": "linear", "model_options": loss}
    body = {"models": ["fcos_resnet10_fpn", "ssd_resnet10"], "dataset_sha256": version.artifact_id, "minutes": 1, "recipe": recipe}
    body["model_options"] = {"fcos_resnet10_fpn": {"neck": "pan"}}
    assert post(client, "/suites", body, **bearer).status_code == 201
    fcos, ssd = (job.spec["recipe"] for job in Job.objects.filter(kind="train").order_by("id"))
    assert (fcos["augmentation"]["mosaic"], fcos["schedule"], fcos["max_minutes"]) == (1.0, "linear", 1.0)
    assert fcos["model_options"] == {**loss, "neck": "pan"} and ssd["model_options"] == loss
    refused = {
        "field 'augmentation.mosaik' is not known": {"recipe": {"augmentation": {"mosaik": 1.0}}},
        "recipe names 'max_minutes', which is asked for by itself; give it as minutes": {"recipe": {"max_minutes": 3}},
    }
    for words, changes in refused.items():
        answer = post(client, "/suites", body | changes, **bearer)
        assert answer.status_code == 422 and words in str(answer.json()), answer.json()


def test_a_pipeline_with_an_unknown_model_queues_nothing(client, bearer):
    body = {"models": ["yolo99"], "import_ref": "fields", "minutes": 1}
    answer = post(client, "/suites", body, **bearer)
    assert answer.status_code == 422
    assert not Job.objects.exists() and not Suite.objects.exists()


def test_a_pipeline_of_one_model_may_start_from_a_checkpoint_of_its_family(client, bearer):
    version, artifact = make_dataset_version(), make_artifact("checkpoint_best", "model.safetensors")
    job = make_job("import_model", result={"manifest": {"model": "drone", "family": "fastestdet"}})
    JobOutput.objects.create(job=job, role="checkpoint_best", name="model.safetensors", artifact=artifact)
    body = {"models": ["fastestdet"], "dataset_sha256": version.artifact_id, "minutes": 1, "weights_sha256": artifact.sha256}
    assert post(client, "/suites", body, **bearer).status_code == 201
    assert Job.objects.get(kind="train").spec["weights"]["sha256"] == artifact.sha256
    refused = {
        "what one model starts from; give one model": {"models": ["fastestdet", "ssd_resnet10"]},
        "and ssd_resnet10 is of ssd; choose a checkpoint of the same family": {"models": ["ssd_resnet10"]},
        "no checkpoint on this site has the sha256 0000": {"weights_sha256": "0" * 64},
    }
    for words, changes in refused.items():
        answer = post(client, "/suites", body | changes, **bearer)
        assert answer.status_code == 422 and words in str(answer.json()), answer.json()


def test_a_training_may_start_from_published_weights_and_nothing_else_may_be_named_so(client, bearer):
    version = make_dataset_version()
    body = {"kind": "train", "model": "fcos_resnet50_fpn", "dataset": {"sha256": version.artifact_id}, "weights": {"ref": "published"}}
    assert post(client, "/jobs", {"spec": body}, **bearer).status_code == 201
    assert Job.objects.get().spec["weights"]["ref"] == "published"
    refused = {
        "nobody publishes weights for fcos_resnet10_fpn": {"model": "fcos_resnet10_fpn"},
        "field 'weights' names no stored file": {"weights": {"ref": "unpublished"}},
        "field 'dataset' names no stored file": {"dataset": {"ref": "published"}},
    }
    for words, changes in refused.items():
        answer = post(client, "/jobs", {"spec": body | changes}, **bearer)
        assert answer.status_code == 422 and words in str(answer.json()), answer.json()


def test_a_queued_job_is_cancelled_and_retried(client, bearer):
    job = post(client, "/jobs", PROBE, **bearer).json()["uuid"]
    assert post(client, f"/jobs/{job}/cancel", {}, **bearer).json()["state"] == "cancelled"
    again = post(client, f"/jobs/{job}/cancel", {}, **bearer)
    assert again.status_code == 422 and "nothing to cancel" in again.json()["detail"]
    assert post(client, f"/jobs/{job}/retry", {}, **bearer).json()["state"] == "queued"


def test_cancel_by_get_is_not_possible(client, bearer):
    job = post(client, "/jobs", PROBE, **bearer).json()["uuid"]
    assert client.get(f"/api/v1/jobs/{job}/cancel", headers=bearer).status_code == 405


def test_the_spec_comes_with_an_address_for_each_input_and_without_an_old_state(client):
    artifact = make_artifact("dataset", "d.tar")
    spec = {"model": "m", "dataset": {"sha256": artifact.sha256, "name": "d.tar", "from_job": "x"}, "resume": {"sha256": "a" * 64}}
    job = make_job("train", spec=spec)
    shown = client.get(f"/api/v1/jobs/{job.uuid}/spec").json()
    assert shown["dataset"]["url"].endswith(f"/artifacts/{artifact.sha256}/d.tar")
    assert "resume" not in shown


def test_unknown_ids_are_404_with_a_sentence(client):
    unknown = "00000000-0000-0000-0000-000000000000"
    for path in ("jobs", "suites", "results", "checkpoints", "datasets"):
        answer = client.get(f"/api/v1/{path}/{unknown}")
        assert answer.status_code == 404 and answer.json()["detail"], path
