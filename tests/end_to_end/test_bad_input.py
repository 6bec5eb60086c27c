"""Bad input through the real site and worker: a sentence with the thing and the remedy; all goes on, nothing stays half-done."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.stacks import Supervised
from webapp.client.api import Client, ClientError


def zip_of(entries: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return data.getvalue()


def bomb() -> bytes:
    """A small zip that unpacks to 20 GB: 320 pictures of 64 MiB of zeros. The zeros are compressed once, the headers written by hand."""
    size = 64 * 1024 * 1024
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed, checksum = packer.compress(bytes(size)) + packer.flush(), zlib.crc32(bytes(size))
    body, directory = bytearray(), bytearray()
    for number in range(320):
        name = f"images/train/{number}.jpg".encode()
        common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, checksum, len(packed), size, len(name), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name
        body += b"PK\x03\x04" + common + name + packed
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 320, 320, len(directory), len(body), 0)
    return bytes(body + directory + end)


def coco_with(image: bytes, annotations: str | None = None) -> bytes:
    text = annotations or json.dumps(
        {
            "images": [{"id": 1, "file_name": "broken.jpg", "width": 8, "height": 8}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}],
            "categories": [{"id": 1, "name": "thing"}],
        }
    )
    return zip_of({"annotations/instances_train.json": text.encode(), "train/broken.jpg": image})


CASES: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "a corrupt image": (lambda: coco_with(b"not a jpeg"), ["broken.jpg"]),
    "broken JSON": (lambda: coco_with(b"", '{"images": ['), ["instances_train.json"]),
    "a zip with .. in a name": (lambda: zip_of({"../escaped.txt": b"x"}), ["escaped.txt"]),
    "no data set at all": (lambda: zip_of({"readme.txt": b"hello"}), ["data.zip"]),
    "not an archive": (lambda: b"hello", ["data.zip"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_archive_fails_with_a_sentence_that_names_the_file(api: Client, tmp_path: Path, case: str):
    make, words = CASES[case]
    path = tmp_path / "data.zip"
    path.write_bytes(make())
    failed_import(api, path, words)


def test_a_small_zip_that_unpacks_to_20_gb_is_stopped(api: Client, tmp_path: Path):
    path = tmp_path / "bomb.zip"
    path.write_bytes(bomb())
    assert path.stat().st_size < 50_000_000
    failed_import(api, path, ["bomb.zip"])


def failed_import(api: Client, path: Path, words: list[str]) -> None:
    before = len(api.datasets())
    job = api.wait(api.import_dataset("bad", path=path).uuid, every_s=0.3)
    assert job.state == "failed" and job.data["failure_kind"] == "user", job.data
    assert all(word in job.failure_message for word in words), job.failure_message
    assert len(api.datasets()) == before, "nothing half-imported stays"


def test_a_zip_that_climbs_out_of_its_folder_writes_nothing_outside(api: Client, stack: Supervised, tmp_path: Path):
    path = tmp_path / "data.zip"
    path.write_bytes(zip_of({"../../escaped-by-test.txt": b"x"}))
    failed_import(api, path, ["escaped-by-test.txt"])
    assert not list(stack.home.parent.rglob("escaped-by-test.txt"))


def test_a_pickle_named_pt_is_refused_as_a_checkpoint_and_never_run(api: Client, small_dataset: str, tmp_path: Path):
    trap = tmp_path / "trap"
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Trap(str(trap))))
    stored = api.upload(path)
    spec = {
        "kind": "evaluate",
        "artifact": {"sha256": stored["sha256"], "name": "weights.pt"},
        "backend": "eager",
        "dataset": {"sha256": small_dataset},
    }
    job = api.wait(api.submit_job(spec).uuid, every_s=0.3)
    assert job.state == "failed" and job.data["failure_kind"] == "user"
    assert "weights.pt" in job.failure_message and "safetensors" in job.failure_message
    assert not trap.exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_a_spec_with_an_unknown_field_is_refused_by_its_name(api: Client):
    with pytest.raises(ClientError, match=r"'colour' is not known"):
        api.submit_job({"kind": "probe", "colour": "red"})


def test_a_model_that_the_lane_cannot_run_is_said_before_and_while_it_waits(api: Client, small_dataset: str):
    spec = {"kind": "train", "model": "fcos_resnet10_fpn", "dataset": {"sha256": small_dataset}, "device": "cuda"}
    job = api.submit_job(spec, lane="cuda")
    waiting = api.job(job.uuid)
    assert waiting.state == "queued" and "cuda" in waiting.waiting_because
    assert api.cancel(job.uuid).state == "cancelled"


def test_a_tar_with_a_link_to_the_outside_is_refused(api: Client, tmp_path: Path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as packed:
        info = tarfile.TarInfo("images/passwd.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(info)
    failed_import(api, path, ["passwd.jpg"])


def test_after_all_that_site_and_worker_go_on(api: Client, stack: Supervised):
    assert stack.status("/healthz") == 200
    job = api.wait(api.submit_job({"kind": "probe"}).uuid, every_s=0.3)
    assert job.state == "succeeded"
