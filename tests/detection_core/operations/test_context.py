"""How a job finds its input files."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from detection_core.operations.context import Stopped
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from tests.detection_core.tiny import CLASSES, write_yolo

BYTES = b"the bytes of a file"
DIGEST = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def server():
    """Serves BYTES at /file to who shows the token, redirects /moved to /open, which wants no token; notes what was sent."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            token = self.headers.get("Authorization")
            seen.append((self.path, token))
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/open")
                self.end_headers()
                return
            allowed = self.path == "/open" or token == "Bearer secret"
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(BYTES if allowed else b"")

        def log_message(self, *args):
            """Say nothing."""

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", seen
    http.shutdown()
    http.server_close()


def test_an_input_is_found_by_its_hash_as_name(job):
    job.inputs.mkdir()
    (job.inputs / DIGEST).write_bytes(BYTES)
    assert job.resolve(InputFile(sha256=DIGEST, ref="/nowhere")) == job.inputs / DIGEST


def test_an_input_that_a_person_named_is_found_by_its_content(job):
    job.inputs.mkdir()
    (job.inputs / "other.onnx").write_bytes(b"other")
    (job.inputs / "my model.onnx").write_bytes(BYTES)
    assert job.resolve(InputFile(sha256=DIGEST)).name == "my model.onnx"


def test_a_path_is_taken_as_it_is_and_checked_against_a_hash_given_with_it(job, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    assert job.resolve(InputFile(ref=str(path))) == path
    assert job.resolve(InputFile(ref=str(path), sha256=DIGEST)) == path
    with pytest.raises(InvalidInput, match="the spec asks for 0000"):
        job.resolve(InputFile(ref=str(path), sha256="0" * 64))


def test_a_file_that_is_nowhere_gets_a_sentence_with_the_remedy(job):
    with pytest.raises(InvalidInput, match=r"the file best\.safetensors \(sha256 000000000000…\) is not at hand; put it into .* --inputs"):
        job.resolve(InputFile(sha256="0" * 64, name="best.safetensors"))
    with pytest.raises(InvalidInput, match=r"there is no file /nowhere/a\.onnx; correct the path"):
        job.resolve(InputFile(ref="/nowhere/a.onnx"))
    with pytest.raises(InvalidInput, match="the file checkpoint_best of job 12"):
        job.resolve(InputFile(from_job="12", role="checkpoint_best"))


def test_a_file_is_fetched_once_with_the_token_and_kept(job, server, monkeypatch):
    address, seen = server
    monkeypatch.setenv("PARETOBOX_TOKEN", "secret")
    file = InputFile(sha256=DIGEST, url=f"{address}/file")
    assert job.resolve(file).read_bytes() == BYTES
    assert job.resolve(file).read_bytes() == BYTES
    assert seen == [("/file", "Bearer secret")]


def test_the_token_does_not_follow_a_redirect(job, server, monkeypatch):
    address, seen = server
    monkeypatch.setenv("PARETOBOX_TOKEN", "secret")
    job.resolve(InputFile(sha256=DIGEST, url=f"{address}/moved"))
    assert seen == [("/moved", "Bearer secret"), ("/open", None)]


def test_other_bytes_than_the_named_ones_are_refused_and_not_kept(job, server):
    address, _ = server
    with pytest.raises(InvalidInput, match=f"has the sha256 {DIGEST}; correct the url"):
        job.resolve(InputFile(sha256="0" * 64, url=f"{address}/open"))
    assert list((job.cache / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"url": "{address}/file", "sha256": DIGEST}, "the server answered 403 Forbidden; set PARETOBOX_TOKEN"),
        ({"url": "{address}/open"}, "has a url and no sha256"),
        ({"url": "file:///etc/hostname", "sha256": DIGEST}, "give an http or https address"),
        ({"url": "http://127.0.0.1:1/x", "sha256": DIGEST}, "check the address and the network"),
    ],
)
def test_a_url_that_does_not_work_gets_a_sentence(job, server, monkeypatch, file, words):
    monkeypatch.delenv("PARETOBOX_TOKEN", raising=False)
    file = {**file, "url": file["url"].format(address=server[0])}
    with pytest.raises(InvalidInput, match=words):
        job.resolve(InputFile(**file))


def test_a_data_set_is_loaded_by_path_with_new_class_names(job, tmp_path):
    folder = write_yolo(tmp_path)
    assert job.dataset(InputFile(ref=str(folder))).classes == CLASSES
    assert job.dataset(InputFile(ref=f"{folder}:names=one,two")).classes == ("one", "two")


def test_an_output_is_recorded_by_hash_and_size(job):
    (job.out / "sub").mkdir()
    (job.out / "sub" / "model.onnx").write_bytes(BYTES)
    file = job.emit("exported_model", job.out / "sub" / "model.onnx")
    assert (file.path, file.sha256, file.size) == ("sub/model.onnx", DIGEST, len(BYTES))


def test_a_stopped_job_leaves_by_stopped(job):
    job.raise_if_stopped()
    with pytest.raises(Stopped):
        replace(job, stop=lambda: True).raise_if_stopped()
