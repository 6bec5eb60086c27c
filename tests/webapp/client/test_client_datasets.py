"""The client brings data sets in, corrects, freezes and downloads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.webapp.client.test_client import client_with
from webapp.client import cli
from webapp.client.api import Client, ClientError

JOB = {"uuid": "1", "kind": "import", "state": "queued", "url": "http://x/jobs/1"}


def version(number: int, *, frozen: bool = True) -> dict[str, Any]:
    return {"uuid": f"version-{number}", "number": number, "frozen": frozen, "artifact_sha256": str(number) * 64}


class Site:
    """Answers like the site and remembers what was sent."""

    def __init__(self, *versions: dict[str, Any]) -> None:
        self.versions, self.sent = list(versions), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        if request.method == "POST" and path != "/uploads":
            self.sent.append((path, json.loads(request.content)))
        if path == "/uploads":
            request.read()
            return httpx.Response(201, json={"sha256": "a" * 64, "size": 3, "name": "weeds.tar"})
        if path == "/datasets":
            return httpx.Response(200, json=[{"name": "weeds", "versions": self.versions, "url": "http://x/datasets/1"}])
        if path == "/checkpoints/a1b2":
            told = {"uuid": "a1b2", "role": "best", "model": "drone", "sha256": "c" * 64, "size": 3, "name": "drone.safetensors"}
            return httpx.Response(200, json=told)
        if path.endswith("/freeze"):
            job = JOB if self.sent[-1][1]["edits"] else None
            return httpx.Response(200, json={"version": self.versions[0], "job": job})
        if path.endswith("/export"):
            return httpx.Response(200, content=b"tar " + request.url.params["form"].encode())
        return httpx.Response(201, json=JOB | {"jobs": []})


@pytest.fixture
def run(monkeypatch):
    """Run a command against a site."""

    def run(site: Site, *words: str) -> int:
        monkeypatch.setattr(cli.Access, "load", lambda path: None)
        monkeypatch.setattr(cli, "Client", lambda access: client_with(site))
        return cli.main(list(words))

    return run


def test_an_import_carries_changes_licence_and_source(run, tmp_path: Path):
    site, archive = Site(), tmp_path / "weeds.tar"
    archive.write_bytes(b"tar")
    words = ["--name", "field", "--rename", "weed=crop", "--rename", "crop=weed", "--drop", "stone", "--split", "seed:0.2,0.1,7"]
    assert run(site, "import", str(archive), *words, "--licence", "CC0", "--source", "field 17", "--preview", "--form", "voc") == 0
    spec = site.sent[0][1]["spec"]
    assert spec["edits"] == {
        "rename": {"weed": "crop", "crop": "weed"},
        "drop": ["stone"],
        "split": {"by": "seed", "val": 0.2, "test": 0.1, "seed": 7},
    }
    assert (spec["name"], spec["licence"], spec["origin"], spec["preview"]) == ("field", "CC0", "field 17", True)
    assert spec["source"] == {"sha256": "a" * 64, "name": "weeds.tar"}
    assert spec["options"] == {"form": "voc"}


def test_an_import_without_changes_says_nothing_of_them(run, tmp_path: Path):
    site = Site()
    run(site, "import", "fields")
    assert site.sent[0][1]["spec"] == {
        "kind": "import",
        "source": {"ref": "fields", "name": "fields"},
        "name": "fields",
        "class_names": None,
    }


def test_splits_are_told_by_seed_group_or_lists(tmp_path: Path):
    (tmp_path / "val.txt").write_text("a.jpg\n b.jpg \n\n")
    assert cli.split_rule("seed:") == {"by": "seed", "val": 0.15, "test": 0.15, "seed": 0}
    assert cli.split_rule(r"group:^(\d+),:") == {"by": "group", "group_pattern": r"^(\d+),:"}
    assert cli.split_rule(f"list:val={tmp_path}/val.txt") == {"by": "list", "lists": {"val": ["a.jpg", "b.jpg"]}}


@pytest.mark.parametrize("rule", ["half", "seed:a,b", "group:", "list:val=/nowhere", "seed:1"])
def test_a_rule_that_cannot_be_read_ends_with_a_sentence(run, rule, capsys):
    with pytest.raises(SystemExit):
        run(Site(), "import", "fields", "--split", rule)
    assert f"'{rule}'" in capsys.readouterr().err


def test_a_new_name_without_an_old_one_is_refused(run):
    site = Site()
    assert run(site, "import", "fields", "--rename", "crop") == 1
    assert site.sent == []


def test_freezing_takes_the_newest_version_with_or_without_changes(run):
    site = Site(version(2, frozen=False), version(1))
    assert run(site, "freeze", "weeds") == 0
    assert run(site, "freeze", "weeds", "--drop", "weed") == 0
    assert [path for path, _ in site.sent] == ["/datasets/versions/version-2/freeze"] * 2
    assert [body["edits"] for _, body in site.sent] == [{}, {"drop": ["weed"]}]


def test_jobs_are_submitted_on_the_newest_frozen_version(run):
    site = Site(version(2, frozen=False), version(1))
    run(site, "submit", "--model", "ssd_resnet10", "--dataset", "weeds")
    assert site.sent[0][1]["dataset_sha256"] == "1" * 64


def test_fields_of_a_recipe_come_from_a_file(run, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text('{"augmentation": {"mosaic": 1.0}}')
    site = Site(version(1))
    submit = ("submit", "--model", "ssd_resnet10", "--dataset", "weeds", "--recipe")
    assert run(site, *submit, str(tmp_path / "recipe.json")) == 0
    assert site.sent[0][1]["recipe"] == {"augmentation": {"mosaic": 1.0}}
    (tmp_path / "broken.json").write_text("{")
    for name, words in (("none.json", "cannot be read"), ("broken.json", "is not JSON")):
        assert run(site, *submit, str(tmp_path / name)) == 1
        assert words in " ".join(capsys.readouterr().err.split())
    assert len(site.sent) == 1


@pytest.mark.parametrize(("named", "sha256"), [("a1b2", "c" * 64), ("d" * 64, "d" * 64)])
def test_a_training_starts_from_a_checkpoint_named_by_id_or_by_hash(run, named, sha256):
    site = Site(version(1))
    run(site, "submit", "--model", "fastestdet", "--dataset", "weeds", "--weights", named)
    assert site.sent[0][1]["weights_sha256"] == sha256


def test_a_data_set_with_nothing_but_a_preview_is_refused_with_the_remedy():
    client = client_with(Site(version(1, frozen=False)))
    with pytest.raises(ClientError, match="only a preview; look at it and freeze it: http://x/datasets/1"):
        client.dataset_version("weeds")
    with pytest.raises(ClientError, match="has no version 7; it has 1"):
        client.dataset_version("weeds", number=7)


def test_a_data_set_is_downloaded_in_a_form(run, tmp_path: Path, capsys):
    assert run(Site(version(3)), "download", "--dataset", "weeds", "--form", "coco", "--out", str(tmp_path)) == 0
    assert (tmp_path / "weeds-v3-coco.tar").read_bytes() == b"tar coco"
    assert capsys.readouterr().out.strip() == str(tmp_path / "weeds-v3-coco.tar")


def test_a_download_that_is_refused_leaves_no_file(tmp_path: Path):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"detail": "gone"})

    client: Client = client_with(answer)
    with pytest.raises(ClientError, match="gone"):
        client.export_dataset("1", "coco", tmp_path / "weeds.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_download_needs_something_to_download(run):
    assert run(Site(), "download") == 1
