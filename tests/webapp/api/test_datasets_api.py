"""Data sets by the API: what was found in them, freezing with and without changes."""

from __future__ import annotations

import pytest

from tests.page_factories import make_stored_dataset
from webapp.accounts.services import token_create
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def bearer(alice) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_create(user=alice, name='laptop')}"}


@pytest.fixture
def preview(settings, tmp_path) -> DatasetVersion:
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path)}}}
    return make_stored_dataset("weeds", frozen=False, statistics={"image_sizes": {"64x48": 3}}, leaks={"checked": 3, "exact": 0, "near": 0})


def freeze(client, version, bearer, **body):
    address = f"/api/v1/datasets/versions/{version.uuid}/freeze"
    return client.post(address, body, content_type="application/json", headers=bearer)


def test_lists_tell_which_versions_are_frozen(client, preview):
    make_stored_dataset("weeds", number=2)
    versions = client.get("/api/v1/datasets").json()[0]["versions"]
    assert [(row["number"], row["frozen"]) for row in versions] == [(2, True), (1, False)]
    assert "statistics" not in versions[0]


def test_one_data_set_shows_what_was_found_in_each_version(client, preview):
    shown = client.get(f"/api/v1/datasets/{preview.dataset.uuid}").json()
    version = shown["versions"][0]
    assert version["statistics"] == {"image_sizes": {"64x48": 3}}
    assert version["leaks"]["checked"] == 3
    assert version["report"] == {"issues": [], "counts": {}}
    assert shown["url"].endswith(f"/datasets/{preview.dataset.uuid}")


def test_a_preview_is_frozen_at_once(client, preview, bearer):
    answer = freeze(client, preview, bearer, licence="CC0")
    assert answer.status_code == 200
    assert (answer.json()["version"]["frozen"], answer.json()["job"]) == (True, None)
    assert Dataset.objects.get().licence == "CC0"


def test_with_changes_a_job_makes_the_version(client, preview, bearer):
    edits = {"rename": {"crop": "weed", "weed": "crop"}}
    answer = freeze(client, preview, bearer, edits=edits)
    assert answer.status_code == 202
    assert answer.json()["job"]["uuid"] == str(Job.objects.get().uuid)
    assert Job.objects.get().spec["edits"]["rename"] == edits["rename"]
    assert not DatasetVersion.objects.get().frozen


def test_the_same_key_queues_nothing_twice(client, preview, bearer):
    first = freeze(client, preview, bearer | {"Idempotency-Key": "k"}, edits={"drop": ["weed"]})
    assert freeze(client, preview, bearer | {"Idempotency-Key": "k"}, edits={"drop": ["weed"]}).json() == first.json()
    assert Job.objects.count() == 1


def test_a_key_of_any_length_is_of_one_change_alone(client, preview, bearer):
    key = bearer | {"Idempotency-Key": "k" * 200}
    assert freeze(client, preview, key, edits={"drop": ["weed"]}).status_code == 202
    answer = freeze(client, preview, key, edits={"drop": ["crop"]})
    assert answer.status_code == 422
    assert f"the Idempotency-Key '{'k' * 200}' was used for another job" in answer.json()["detail"]
    assert Job.objects.count() == 1


def test_wrong_changes_are_refused_with_a_sentence(client, preview, bearer):
    answer = freeze(client, preview, bearer, edits={"drop": ["thistle"]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "'thistle' is not a class of weeds v1; it has crop, weed"
    assert freeze(client, preview, bearer, edits={"dorp": ["weed"]}).status_code == 422


def test_freezing_needs_a_token_and_a_version_that_exists(client, preview, bearer):
    assert freeze(client, preview, {}).status_code == 401
    preview.uuid = "00000000-0000-0000-0000-000000000000"
    assert freeze(client, preview, bearer).status_code == 404


def test_an_import_by_the_api_is_frozen_at_once_unless_a_preview_is_asked_for(client, bearer):
    source = {"ref": "fields", "name": "fields"}
    for preview in (False, True):
        spec = {"kind": "import", "source": source, "name": "fields", "edits": {"drop": ["weed"]}, "licence": "CC0"}
        spec |= {"preview": True} if preview else {}
        answer = client.post("/api/v1/jobs", {"spec": spec}, content_type="application/json", headers=bearer)
        assert answer.status_code == 201, answer.content
        assert Job.objects.order_by("-id")[0].spec["preview"] is preview


def test_long_lists_of_file_names_are_told_by_their_first_few_and_their_number(client, preview, bearer):
    rule = {"by": "list", "lists": {"val": [f"{number}.jpg" for number in range(5000)]}}
    DatasetVersion.objects.filter(pk=preview.pk).update(edits={"steps": [{"drop": ["weed"]}, {"split": rule}]})
    for address in ("/api/v1/datasets", f"/api/v1/datasets/{preview.dataset.uuid}"):
        answer = client.get(address, headers=bearer).json()
        (version,) = (answer[0] if isinstance(answer, list) else answer)["versions"]
        first, second = version["edits"]["steps"]
        assert first == {"drop": ["weed"]}
        assert (len(second["split"]["lists"]["val"]), second["split"]["listed"]) == (12, {"val": 5000})
