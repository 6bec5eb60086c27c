"""Studies through the API and the command: listed, read, queued."""

from __future__ import annotations

import json

import pytest

from tests.factories import make_dataset_version
from tests.own_folders import own_folders
from tests.webapp.studies.makers import finish, make_run
from webapp.accounts.services import token_create
from webapp.client.show import studies_table, study_table
from webapp.jobs.models import Job, Suite

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def bearer(alice) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}


def post(client, name: str, body: dict, **headers: str):
    return client.post(f"/api/v1/studies/{name}", json.dumps(body), content_type="application/json", headers=headers)


def test_the_studies_are_listed(client):
    found = client.get("/api/v1/studies").json()
    assert [row["name"] for row in found] == ["focal-loss", "necks", "altitude"]
    assert found[0]["trainings"] == 18 and found[0]["url"].endswith("/studies/focal-loss")
    assert studies_table(found).row_count == 3


def test_a_study_without_a_run_has_the_papers_numbers(client):
    found = client.get("/api/v1/studies/focal-loss").json()
    assert found["shown"] is None and found["sentences"] == []
    assert found["found"][3]["paper_ap"] == 0.34 and found["found"][3]["tested"][0]["ap"] is None
    assert study_table(found).caption == "no run of it has numbers yet"


def test_a_study_tells_what_its_run_has_found(client):
    suite = make_run()
    finish(suite, {"gamma_0": (0.30, 0.31, 0.29), "gamma_2": (0.40, 0.41, 0.39)})
    found = client.get(f"/api/v1/studies/focal-loss?suite={suite.uuid}").json()
    assert found["shown"] == str(suite.uuid) and found["runs"][0]["complete"]
    one = next(row for row in found["differences"] if row["arm"] == "gamma_2" and row["baseline"] == "gamma_0")
    assert one["difference"] == pytest.approx(0.1) and one["shown"] == "gamma_2" and one["seeds"] == 3
    assert one["paper_difference"] == 0.029
    assert found["found"][3]["tested"][0]["ap_sd"] == pytest.approx(0.01)
    assert study_table(found).row_count == 6


def test_a_token_queues_a_study_once_under_a_key(client, bearer):
    body = {"dataset_sha256": make_dataset_version().artifact_id, "dataset_name": "bccd v1", "epochs": 2, "seeds": [0]}
    first, second = (post(client, "necks", body, **bearer, **{"Idempotency-Key": "one"}) for _ in range(2))
    assert first.status_code == 201 and first.json()["uuid"] == second.json()["uuid"]
    assert (Suite.objects.get().study, Job.objects.count()) == ("necks", 9)


def test_without_a_token_nothing_is_queued(client):
    assert post(client, "altitude", {}).status_code == 401
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("nothing", {}, 404, "there is no study of this name"),
        ("focal-loss", {}, 422, "give either dataset_sha256"),
        ("altitude", {"import_ref": "fields"}, 422, "makes its own data"),
        ("altitude", {"seeds": [1, 1]}, 422, "seed 1 stands twice"),
        ("altitude", {"colour": 1}, 422, "colour"),
    ],
)
def test_what_cannot_be_queued_is_refused_with_a_sentence(client, bearer, name, body, status, words):
    answer = post(client, name, body, **bearer)
    assert answer.status_code == status and words in answer.content.decode()
    assert not Job.objects.exists()


def test_an_unknown_run_is_not_found(client):
    answer = client.get("/api/v1/studies/necks?suite=00000000-0000-0000-0000-000000000000")
    assert answer.status_code == 404 and "has no run with this id" in answer.json()["detail"]
