"""The client: where it finds the site, how it says no, how it downloads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from webapp.client.api import Access, Client, ClientError
from webapp.client.cli import main

BYTES = b"weights" * 1000
SHA = hashlib.sha256(BYTES).hexdigest()


def client_with(answer) -> Client:
    client = Client(Access(url="http://127.0.0.1:1", token="pbx_x"))
    client._http = httpx.Client(base_url="http://127.0.0.1:1/api/v1", transport=httpx.MockTransport(answer))
    return client


def ranged(request: httpx.Request) -> httpx.Response:
    wanted = request.headers.get("range")
    if wanted:
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        return httpx.Response(206, content=BYTES[first:])
    return httpx.Response(200, content=BYTES)


def test_a_download_appears_whole_under_its_name(tmp_path: Path):
    target = client_with(ranged).download(SHA, tmp_path / "best.safetensors")
    assert target.read_bytes() == BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("range"))
        return ranged(request)

    (tmp_path / "best.safetensors.part").write_bytes(BYTES[:1234])
    assert client_with(answer).download(SHA, tmp_path / "best.safetensors").read_bytes() == BYTES
    assert seen == ["bytes=1234-"]


def test_bytes_with_a_wrong_hash_never_appear(tmp_path: Path):
    with pytest.raises(ClientError, match="another hash"):
        client_with(ranged).download("0" * 64, tmp_path / "best.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_servers_sentence_is_the_clients_error():
    client = client_with(lambda _: httpx.Response(422, json={"detail": "field 'model': 'x' is not in the catalogue"}))
    with pytest.raises(ClientError, match="'x' is not in the catalogue"):
        client.submit_job({"kind": "train"})


def test_a_field_that_the_server_refused_is_named():
    detail = [{"loc": ["body", "body", "models"], "msg": "Field required"}]
    client = client_with(lambda _: httpx.Response(422, json={"detail": detail}))
    with pytest.raises(ClientError, match="'models': Field required"):
        client.submit_pipeline({})


def test_an_unknown_token_is_told_with_the_remedy():
    client = client_with(lambda _: httpx.Response(401, json={"detail": "Unauthorized"}))
    with pytest.raises(ClientError, match="paretobox login"):
        client.models()


def test_every_submission_carries_an_idempotency_key():
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["idempotency-key"])
        return httpx.Response(201, json={"uuid": "1", "state": "queued"})

    client = client_with(answer)
    client.submit_job({"kind": "probe"})
    client.submit_job({"kind": "probe"}, key="mine")
    assert len(seen[0]) == 36 and seen[1] == "mine"


def test_access_comes_from_the_environment_before_any_file(monkeypatch):
    monkeypatch.setenv("PARETOBOX_URL", "http://one")
    monkeypatch.setenv("PARETOBOX_TOKEN", "t")
    assert Access.load() == Access(url="http://one", token="t")


def test_without_a_known_site_the_command_says_what_to_do(monkeypatch, tmp_path, capsys):
    for name in ("PARETOBOX_URL", "PARETOBOX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["jobs"]) == 1
    assert "paretobox login" in capsys.readouterr().err


def test_a_broken_access_file_is_named(tmp_path):
    path = tmp_path / "access.json"
    path.write_text(json.dumps({"url": 1}))
    with pytest.raises(ClientError, match=r"access\.json"):
        Access.load(path)
