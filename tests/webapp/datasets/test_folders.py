"""Folders on the server: opened by a setting, for administrators, and never a step beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportSpec
from tests.factories import make_user
from webapp import env
from webapp.accounts.models import User
from webapp.datasets.folders import folder_checked, folder_for, folders_offered
from webapp.jobs.services import job_create

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened(settings, tmp_path) -> Path:
    """An opened folder with a data set below it, and a secret beside it."""
    root = tmp_path / "open"
    (root / "fields").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "open-but-not-quite").mkdir()
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "in").symlink_to(root / "fields")
    settings.DATA_FOLDERS = [root]
    return root


@pytest.fixture
def admin() -> User:
    return make_user("admin", is_staff=True)


def importing(ref: str) -> ImportSpec:
    return ImportSpec(source=InputFile(ref=ref), name="large")


def test_an_administrator_imports_a_folder_below_an_opened_one(opened, admin):
    job = job_create(spec=importing(f"{opened}/fields"), user=admin)
    assert job.spec["source"] == {**InputFile(ref=str(opened.resolve() / "fields")).to_dict()}
    assert folder_for(str(opened), admin) == opened.resolve()


def test_names_of_classes_behind_a_folder_are_refused_since_they_hide_where_it_ends(opened, admin):
    (opened / "out:names=a").mkdir()  # what is read without the names is a link that leads out
    with pytest.raises(InvalidInput, match=r"names classes behind the folder; give the folder alone"):
        job_create(spec=importing(f"{opened}/out:names=a"), user=admin)


def test_the_worker_gets_the_real_path_of_a_link(opened, admin):
    assert job_create(spec=importing(f"{opened}/in"), user=admin).spec["source"]["ref"] == str(opened.resolve() / "fields")


@pytest.mark.parametrize("path", ["../secret", "out", "fields/../../secret", "../open-but-not-quite", "/etc", "fields\x00/../../secret"])
def test_what_does_not_lie_below_is_refused(opened, admin, path):
    with pytest.raises(InvalidInput, match=r"does not lie below|there is no folder"):
        job_create(spec=importing(path if path.startswith("/") else f"{opened}/{path}"), user=admin)


def test_a_folder_that_is_not_there_is_said(opened, admin):
    with pytest.raises(InvalidInput, match="there is no folder"):
        folder_for(f"{opened}/nowhere", admin)


def test_everybody_else_gets_a_sentence(opened, alice):
    for user in (alice, None):
        with pytest.raises(InvalidInput, match="are imported by an administrator"):
            job_create(spec=importing(f"{opened}/fields"), user=user)


def test_without_the_setting_nothing_is_open(settings, admin, tmp_path):
    settings.DATA_FOLDERS = []
    with pytest.raises(InvalidInput, match="set DATA_FOLDERS"):
        folder_checked(str(tmp_path))
    with pytest.raises(InvalidInput, match="is no built-in data set"):
        job_create(spec=importing(str(tmp_path)), user=admin)


def test_the_opened_folders_and_those_below_are_offered(opened):
    assert folders_offered() == [str(opened), str(opened / "fields")]


def test_the_import_page_offers_folders_to_administrators_and_tells_the_others(opened, client, admin, alice):
    client.force_login(admin)
    page = client.get("/datasets/new").content.decode()
    assert 'value="folder"' in page and f'<option value="{opened}/fields">' in page
    answer = client.post("/datasets/new", {"origin": "folder", "folder": f"{opened}/fields", "name": "", "class_names": ""})
    assert answer.status_code == 302
    client.force_login(alice)
    page = client.get("/datasets/new").content.decode()
    assert 'value="folder"' not in page and "An administrator of this site can import a folder" in page
    refused = client.post("/datasets/new", {"origin": "folder", "folder": f"{opened}/fields", "name": "", "class_names": ""})
    assert refused.status_code == 400 and "are imported by an administrator" in refused.content.decode()


def test_the_setting_holds_absolute_paths(monkeypatch):
    monkeypatch.setenv("DATA_FOLDERS", "/data:/mnt/more")
    assert env.folders("DATA_FOLDERS") == [Path("/data"), Path("/mnt/more")]
    monkeypatch.setenv("DATA_FOLDERS", "data")
    with pytest.raises(ImproperlyConfigured, match="use absolute paths"):
        env.folders("DATA_FOLDERS")
