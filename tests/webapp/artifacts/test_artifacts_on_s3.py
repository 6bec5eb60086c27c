"""With S3 storage a picture of a data set is fetched alone, not with its whole archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from django.urls import reverse

from detection_core.data.canonical import write_canonical
from tests.detection_core.data.makers import box, load, write_coco
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_bytes, artifact_open, storage_key
from webapp.datasets.models import Dataset, DatasetVersion

pytestmark = pytest.mark.django_db
BUCKET = "results"


@dataclass
class S3:
    """The reading half of an S3 server: `objects` by key, and how many bytes of bodies it has `sent`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    sent: int = 0
    address: str = ""

    def store(self, content: bytes) -> Artifact:
        digest = hashlib.sha256(content).hexdigest()
        self.objects[storage_key(digest)] = content
        fields = {"kind": "dataset", "name": "d.tar", "storage_key": storage_key(digest)}
        return Artifact.objects.create(sha256=digest, size=len(content), **fields)


def handler(s3: S3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = s3.objects.get(self.path.split("?")[0].removeprefix(f"/{BUCKET}/"))
            if content is None:
                return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            if wanted := self.headers.get("Range"):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                return self._answer(206, content[first : last + 1])
            return self._answer(200, content)

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
                s3.sent += len(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def s3(settings, tmp_path: Path) -> Iterator[S3]:
    """A server of this test, and the site's storage on it."""
    found = S3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    Thread(target=server.serve_forever, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    options = {"bucket_name": BUCKET, "endpoint_url": found.address, "addressing_style": "path", "region_name": "nowhere"}
    options |= {"access_key": "key", "secret_key": "secret"}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}}
    settings.SCALED_IMAGES_DIR = tmp_path / "scaled"
    yield found
    server.shutdown()
    server.server_close()


def test_a_part_is_fetched_alone(s3):
    artifact = s3.store(bytes(range(256)) * 4000)
    assert artifact_bytes(artifact, offset=258, size=5) == bytes([2, 3, 4, 5, 6])
    assert s3.sent == 5
    with artifact_open(artifact) as file:
        file.seek(258)
        assert file.read(5) == bytes([2, 3, 4, 5, 6])


def test_bytes_that_are_lost_are_not_found(s3):
    artifact = s3.store(b"some bytes")
    s3.objects.clear()
    with pytest.raises(FileNotFoundError):
        artifact_bytes(artifact, offset=0, size=4)


def test_a_page_of_pictures_fetches_each_alone(s3, client, tmp_path: Path):
    write_coco(tmp_path / "d", [box(0, [1, 1, 9, 9])], images=20)
    write_canonical(load(tmp_path / "d"), tmp_path / "d.tar")
    artifact = s3.store((tmp_path / "d.tar").read_bytes())
    fields = {"content_hash": "0" * 64, "classes": ["cat", "dog"], "splits": {"train": {"images": 20}}, "report": {}, "form": "coco"}
    version = DatasetVersion.objects.create(dataset=Dataset.objects.create(name="d"), number=1, artifact=artifact, **fields)
    assert client.get(reverse("dataset-detail", args=[version.dataset.uuid])).status_code == 200  # reads the index, once
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "d.tar").read_bytes())) as tar:
        sizes = {member.name: member.size for member in tar}
    s3.sent = 0
    for number in (1, 7, 20):
        answer = client.get(reverse("dataset-image", args=[version.uuid, number]))
        assert answer.content == (tmp_path / "d" / "train" / f"{number - 1:03d}.jpg").read_bytes()
    assert s3.sent == sum(sizes[f"images/train/{number:03d}.jpg"] for number in (0, 6, 19)) < artifact.size / 5
