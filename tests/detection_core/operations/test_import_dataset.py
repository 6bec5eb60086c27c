from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from detection_core.data.load import load_dataset
from detection_core.operations.context import Stopped, file_sha256
from detection_core.operations.import_dataset import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportSpec
from tests.detection_core.data.makers import box, write_coco, write_yolo


@pytest.fixture
def upload(tmp_path, job):
    """A zip among the job's inputs, named by its hash as the worker leaves it there."""
    write_coco(tmp_path / "raw", [box(0, [1, 1, 9, 9]), box(0, [1, 1, 0, 9])])
    packed = shutil.make_archive(str(tmp_path / "upload"), "zip", tmp_path / "raw")
    sha256 = file_sha256(tmp_path / "upload.zip")
    job.inputs.mkdir()
    shutil.move(packed, job.inputs / sha256)
    return InputFile(sha256=sha256, name="my photos.zip")


def test_an_upload_becomes_a_canonical_tar_that_reads_back_the_same(upload, job):
    result = run(ImportSpec(source=upload, name="photos", class_names=("a", "b")), job)
    (file,) = result.files
    assert (file.role, file.path) == ("dataset", "dataset.tar")
    dataset = load_dataset(str(job.out / file.path), cache_dir=job.cache)
    assert dataset.content_hash == result.content_hash
    assert (dataset.name, dataset.classes, dataset.source) == ("photos", ("a", "b"), "my photos.zip")
    assert result.form == "coco"
    assert result.report.counts == {"zero_size_box": 1, "split_made": 1}
    assert {split.images for split in result.splits.values()} <= {0, 1, 2, 3}


def test_what_was_found_wrong_is_among_the_events(upload, job):
    run(ImportSpec(source=upload, name="photos"), job)
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    warnings = [event["message"] for event in events if event["type"] == "warning"]
    assert any(message.startswith("zero_size_box: 1") for message in warnings)


def test_nothing_but_the_result_stays_in_the_jobs_folder_and_nothing_in_the_cache(upload, job):
    run(ImportSpec(source=upload, name="photos"), job)
    assert sorted(path.name for path in job.out.iterdir()) == ["dataset.tar", "events.jsonl"]
    assert not job.cache.exists() or not any(job.cache.iterdir())


def test_a_bad_upload_is_named_as_the_person_named_it_and_leaves_nothing(job):
    job.inputs.mkdir()
    (job.inputs / "thing").write_bytes(b"no archive")
    source = InputFile(sha256=file_sha256(job.inputs / "thing"), name="holiday.zip")
    with pytest.raises(InvalidInput, match=r"'holiday\.zip' is neither a \.zip nor a plain \.tar"):
        run(ImportSpec(source=source, name="photos"), job)
    assert [path.name for path in job.out.iterdir()] == ["events.jsonl"]


def test_a_folder_and_a_built_in_name_are_taken_by_ref(tmp_path, job):
    write_yolo(tmp_path / "yolo", {"train/a": "1 0.5 0.5 0.2 0.2\n"})
    result = run(ImportSpec(source=InputFile(ref=f"{tmp_path / 'yolo'}:names=x,y"), name="mine", options={"keep_splits": True}), job)
    assert (result.form, result.classes, result.splits["train"].images) == ("yolo", ("x", "y"), 1)
    small = {"train": 2, "val": 1, "test": 1, "size": 64}
    result = run(ImportSpec(source=InputFile(ref="fields"), name="fields small", options=small), job)
    assert (result.form, result.licence, result.name) == ("builtin", "Apache-2.0", "fields small")


def test_a_stopped_import_leaves_by_stopped_and_writes_nothing(upload, job):
    with pytest.raises(Stopped):
        run(ImportSpec(source=upload, name="photos"), replace(job, stop=lambda: True))
    assert [path.name for path in job.out.iterdir()] == ["events.jsonl"]
