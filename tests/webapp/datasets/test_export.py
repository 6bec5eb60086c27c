"""A version is streamed in the form of other tools, and what comes out can be imported again."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient

from detection_core.data.load import load_dataset
from detection_core.data.writers import FORMS
from tests.page_factories import make_stored_dataset
from webapp.datasets.archive import ArchiveIndex, archive_index
from webapp.datasets.export import PIECE, export_chunks
from webapp.datasets.models import Dataset, DatasetVersion

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def version() -> DatasetVersion:
    return make_stored_dataset("weeds", images=(("a/one.png", "train", 2), ("b/one.png", "val", 1), ("c.png", "test", 0)))


def fetch(address: str) -> tuple[int, dict[str, str], list[bytes]]:
    """The view is asynchronous; it runs in a thread of its own, because Playwright's loop may hold this one."""

    async def fetched():
        response = await AsyncClient().get(address)
        chunks = [chunk async for chunk in response.streaming_content] if response.streaming else [response.content]
        await sync_to_async(connections.close_all)()
        return response.status_code, dict(response.items()), chunks

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, fetched()).result()


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_what_is_exported_can_be_imported_with_the_same_boxes(version, form, tmp_path):
    status, headers, chunks = fetch(f"/datasets/{version.dataset.uuid}/export?version={version.uuid}&form={form}")
    assert status == 200
    assert f'filename="weeds-v1-{form}.tar"' in headers["Content-Disposition"]
    path = tmp_path / "export.tar"
    path.write_bytes(b"".join(chunks))
    dataset = load_dataset(str(path), cache_dir=tmp_path)
    assert sorted((record.split, record.boxes.round(2).tolist()) for record in dataset.records) == [
        ("test", []),
        ("train", [[4.0, 5.0, 20.0, 19.0], [10.0, 9.0, 26.0, 23.0]]),
        ("val", [[4.0, 5.0, 20.0, 19.0]]),
    ]


def test_image_files_come_out_unaltered(version):
    _, _, chunks = fetch(f"/datasets/{version.dataset.uuid}/export?form=coco")
    index = archive_index(version.artifact_id)
    found = members(b"".join(chunks))
    assert sum(name.endswith(".png") for name in found) == len(index)
    assert json.loads(found["annotations/instances_train.json"])["categories"] == [{"id": 1, "name": "crop"}, {"id": 2, "name": "weed"}]


def test_the_api_sends_the_same(version):
    status, headers, chunks = fetch(f"/api/v1/datasets/versions/{version.uuid}/export?form=yolo")
    assert (status, headers["Content-Type"]) == (200, "application/x-tar")
    assert b"".join(chunks) == b"".join(fetch(f"/datasets/{version.dataset.uuid}/export?form=yolo")[2])
    assert fetch(f"/api/v1/datasets/versions/{version.uuid}/export?form=pickle")[0] == 422


def test_the_ids_of_a_coco_export_are_the_places_of_the_images_in_the_data_set(version):
    found = members(b"".join(fetch(f"/datasets/{version.dataset.uuid}/export?form=coco")[2]))
    ids = {split: [row["id"] for row in json.loads(found[f"annotations/instances_{split}.json"])["images"]] for split in ("train", "val")}
    assert ids == {"train": [1], "val": [2]}


def test_the_newest_frozen_version_is_exported_where_none_is_named(version):
    make_stored_dataset("weeds", number=2, frozen=False)
    _, headers, _ = fetch(f"/datasets/{version.dataset.uuid}/export?form=yolo")
    assert "weeds-v1-yolo.tar" in headers["Content-Disposition"]


def test_what_is_not_there_or_not_known_is_said(version):
    base = f"/datasets/{version.dataset.uuid}/export"
    assert fetch(f"{base}?form=pickle")[0] == 400
    assert b"'pickle' is not known; use one of coco, yolo, voc" in fetch(f"{base}?form=pickle")[2][0]
    assert fetch(f"{base}?form=coco&version=00000000-0000-0000-0000-000000000000")[0] == 404
    assert fetch("/datasets/00000000-0000-0000-0000-000000000000/export?form=coco")[0] == 404


def test_no_more_than_a_piece_is_held_at_a_time(version):
    """Every image is read when its turn comes, and the file is closed at the end or when nobody wants the rest."""
    big = make_stored_dataset(
        "big", images=tuple((f"{number:03}.bmp", "train", 1) for number in range(12)), contents={"000.bmp": bytes(3 * PIECE)}
    )

    class Counting(io.BytesIO):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            Counting.reads += 1
            return bytes(size)

    file = Counting()
    chunks = export_chunks(big, archive_index(big.artifact_id), file, "yolo")
    assert len(next(chunks)) >= PIECE
    assert Counting.reads == 1
    chunks.close()
    assert file.closed


@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_many_boxes_takes_the_memory_of_a_few(form):
    count, boxes = 2000, 14
    rows = np.arange(count * boxes * 4, dtype=np.float64).reshape(-1, 4)
    index = ArchiveIndex(
        files=tuple(f"{number}.jpg" for number in range(count)),
        groups=(None,) * count,
        hashes=("",) * count,
        sides=np.full((count, 2), 448, np.int32),
        splits=np.zeros(count, np.int8),
        places=np.zeros((count, 2), np.int64),
        starts=np.arange(count + 1) * boxes,
        boxes=rows,
        labels=np.zeros(len(rows), np.int32),
        iscrowd=np.zeros(len(rows), bool),
        areas=rows[:, 0],
    )
    version = DatasetVersion(dataset=Dataset(name="weeds"), classes=["crop"])
    tracemalloc.start()
    written = sum(len(chunk) for chunk in export_chunks(version, index, io.BytesIO(), form))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written > 4_000_000 and peak < 3_000_000
