"""Importing a data set from the browser."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.factories import make_job
from tests.page_factories import make_stored_dataset
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open
from webapp.datasets.models import Dataset
from webapp.datasets.services import dataset_freeze
from webapp.jobs.models import Job, JobOutput

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    """Keep uploads and artifacts of a test to itself."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}
    return tmp_path


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _upload(client, name="weeds.tar", content=b"tar bytes", **fields):
    form = {"origin": "upload", "file": SimpleUploadedFile(name, content), "name": "", "class_names": "", "licence": "", "source": ""}
    headers = fields.pop("headers", {})
    return client.post("/datasets/new", form | fields, headers=headers)


def test_importing_needs_a_login(client):
    assert client.get("/datasets/new").url.startswith("/login")
    assert _upload(client).url.startswith("/login")
    assert not Artifact.objects.exists()


def test_an_upload_is_stored_by_hash_and_its_import_opens(alice_client, alice):
    answer = _upload(alice_client, name="weeds.TAR", content=b"some bytes", class_names="crop, weed", licence="CC0", source="field 17")
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.uuid}"
    assert job.spec["name"] == "weeds"
    assert job.spec["class_names"] == ["crop", "weed"]
    artifact = Artifact.objects.get(sha256=job.spec["source"]["sha256"])
    with artifact_open(artifact) as file:
        assert file.read() == b"some bytes"
    assert (job.spec["licence"], job.spec["origin"], job.created_by) == ("CC0", "field 17", alice)
    assert job.spec["preview"] is True
    assert not Dataset.objects.exists()  # nothing of a data set stands before its import has succeeded


def test_when_the_import_has_ended_its_page_leads_to_the_preview(alice_client):
    preview = make_stored_dataset("weeds", frozen=False)
    job = make_job("import", spec={"name": "weeds", "source": {}}, result={"content_hash": preview.content_hash})
    JobOutput.objects.create(job=job, role="dataset", artifact=preview.artifact, name="dataset.tar")
    address = f"/datasets/{preview.dataset.uuid}?version={preview.uuid}"
    page = alice_client.get(f"/jobs/{job.uuid}").content.decode()
    assert f'<a class="button button-primary" href="{address}">Look at the preview and freeze it</a>' in page
    dataset_freeze(version=preview)
    assert f'<a class="button" href="{address}">Data set weeds v1</a>' in alice_client.get(f"/jobs/{job.uuid}").content.decode()


def test_sets_that_are_downloaded_tell_their_size_and_licence(alice_client):
    text = _text(alice_client.get("/datasets/new"))
    assert "COCO 2017, val only 1.1 GB" in text
    assert "Licence: annotations CC BY 4.0" in text
    assert "The import job downloads the files from where their authors keep them" in text


def test_one_of_two_forms_is_chosen_for_own_data(alice_client):
    assert 'name="annotations"' in alice_client.get("/datasets/new").content.decode()
    _upload(alice_client, annotations="voc")
    assert Job.objects.get().spec["options"] == {"form": "voc"}


def test_a_built_in_data_set_has_one_form(alice_client):
    alice_client.post("/datasets/new", {"origin": "fields", "name": "", "class_names": "", "annotations": "voc"})
    assert Job.objects.get().spec["options"] == {}


def test_a_built_in_data_set_needs_no_file(alice_client):
    alice_client.post("/datasets/new", {"origin": "fields", "name": "", "class_names": ""})
    spec = Job.objects.get().spec
    assert (spec["source"]["ref"], spec["name"]) == ("fields", "fields")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"file": ""}, "choose a .zip or .tar file"),
        ({"name_of_file": "weeds.rar"}, "&#x27;weeds.rar&#x27; is no .zip or .tar; pack the folder"),
        ({"name_of_file": "weeds.tar.gz"}, "&#x27;weeds.tar.gz&#x27; is no .zip or .tar; pack the folder"),
        ({"name_of_file": "weeds.tgz"}, "&#x27;weeds.tgz&#x27; is no .zip or .tar; pack the folder"),
        ({"class_names": "crop,,weed"}, "one of the names is empty"),
        ({"class_names": "crop, crop"}, "two names are the same"),
        ({"content": b""}, "The submitted file is empty."),
    ],
)
def test_what_cannot_be_imported_is_refused_with_a_sentence(alice_client, folders, fields, sentence):
    name = fields.pop("name_of_file", "weeds.tar")
    answer = _upload(alice_client, name=name, **fields)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not Job.objects.exists()
    assert not Artifact.objects.exists()


def test_a_file_beyond_the_limit_is_refused_and_nothing_stays(alice_client, settings, folders):
    settings.UPLOAD_MAX_BYTES = 100_000
    answer = _upload(alice_client, content=b"x" * 300_000)
    assert answer.status_code == 413
    assert "the file is larger than 100 kB, the most that this site takes" in _text(answer)
    assert not Job.objects.exists()
    assert not Artifact.objects.exists()
    assert not [path for path in folders.rglob("*") if path.is_file()]


def test_a_file_of_exactly_the_limit_is_taken(alice_client, settings):
    settings.UPLOAD_MAX_BYTES = 100_000
    assert _upload(alice_client, content=b"x" * 100_000).status_code == 302


def test_an_upload_goes_through_a_file_and_not_through_memory(alice_client, monkeypatch):
    from webapp.jobs.views import imports

    seen: list[int] = []
    put = imports.artifact_put_stream

    def counted(chunks):
        for chunk in chunks:
            seen.append(len(chunk))
            yield chunk

    monkeypatch.setattr(
        imports, "artifact_put_stream", lambda *, chunks, **rest: put(chunks=(seen.append(len(c)) or c for c in chunks), **rest)
    )
    _upload(alice_client, content=b"x" * 3_000_000)
    assert max(seen) <= 1 << 20
    assert sum(seen) == 3_000_000


def test_the_script_gets_the_address_or_the_problems_as_json(alice_client, settings):
    headers = {"Accept": "application/json"}
    answer = _upload(alice_client, headers=headers)
    assert answer.json() == {"url": f"/jobs/{Job.objects.get().uuid}"}
    settings.UPLOAD_MAX_BYTES = 10
    refused = _upload(alice_client, content=b"x" * 100, headers=headers)
    assert refused.status_code == 413
    assert refused.json()["problems"][0].startswith("the file is larger than 10 B")


def test_a_form_without_the_token_is_refused(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert _upload(client).status_code == 403
    token = client.get("/datasets/new").cookies["csrftoken"].value
    assert _upload(client, headers={"X-CSRFToken": token}).status_code == 302
