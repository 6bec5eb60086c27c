"""A folder of the server is looked at again where it is read."""

from __future__ import annotations

import pytest

from workers.inputs import InputMissing
from workers.lifecycle import _check_folder


def _spec(path) -> dict:
    return {"kind": "import", "source": {"ref": str(path)}}


def test_a_folder_below_an_opened_one_is_read(settings, tmp_path):
    settings.DATA_FOLDERS = [tmp_path]
    (tmp_path / "flights").mkdir()
    _check_folder(_spec((tmp_path / "flights").resolve()))


def test_a_folder_that_became_a_link_since_the_job_was_queued_is_not(settings, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").mkdir()
    settings.DATA_FOLDERS = [tmp_path / "open"]
    (tmp_path / "open" / "flights").symlink_to(tmp_path / "secret")
    with pytest.raises(InputMissing, match="does not lie below"):
        _check_folder(_spec((tmp_path / "open").resolve() / "flights"))


def test_a_folder_with_names_of_classes_behind_it_is_not(settings, tmp_path):
    settings.DATA_FOLDERS = [tmp_path]
    (tmp_path / "flights:names=a").mkdir()
    with pytest.raises(InputMissing, match="give the folder alone"):
        _check_folder(_spec((tmp_path / "flights:names=a").resolve()))


def test_a_worker_that_opens_no_folders_reads_none(settings, tmp_path):
    settings.DATA_FOLDERS = []
    with pytest.raises(InputMissing, match="set DATA_FOLDERS"):
        _check_folder(_spec(tmp_path))


def test_names_of_the_catalogue_are_no_folders(settings):
    settings.DATA_FOLDERS = []
    _check_folder(_spec("fields"))
    _check_folder({"kind": "probe"})
