from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.specs import Download
from detection_core.data.load import load_dataset
from detection_core.operations.context import Stopped, file_sha256
from detection_core.operations.import_dataset import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportSpec
from tests.detection_core.data.makers import box, write_coco, write_image, write_yolo


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


def warnings_of(job):
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    return [event["message"] for event in events if event["type"] == "warning"]


def test_edits_are_done_and_remembered_with_licence_and_origin(upload, job):
    rule = {"by": "list", "lists": {"val": ["001.jpg"]}}
    spec = {"source": upload.to_dict(), "name": "photos", "edits": {"rename": {"cat": "dog", "dog": "cat"}, "split": rule}}
    result = run(ImportSpec.parse({**spec, "licence": "CC0-1.0", "origin": "the field behind the house", "preview": True}), job)
    assert result.classes == ("dog", "cat")
    assert {split: counts.images for split, counts in result.splits.items()} == {"train": 2, "val": 1, "test": 0}
    assert result.edits["rename"] == {"cat": "dog", "dog": "cat"} and result.edits["split"]["lists"] == {"val": ["001.jpg"]}
    assert (result.licence, result.source, result.preview) == ("CC0-1.0", "the field behind the house", True)
    dataset = load_dataset(str(job.out / "dataset.tar"), cache_dir=job.cache)
    assert (dataset.classes, dataset.licence, dataset.source) == (result.classes, result.licence, result.source)


def test_names_given_in_label_order_are_remembered_as_a_step_before_the_edits(upload, job):
    spec = {"source": upload.to_dict(), "name": "photos", "class_names": ["dog", "cat"]}
    assert run(ImportSpec.parse(spec), job).edits == {"rename": {"cat": "dog", "dog": "cat"}}
    result = run(ImportSpec.parse({**spec, "edits": {"drop": ["cat"]}}), job)
    assert (result.classes, result.edits) == (("dog",), {"steps": [{"rename": {"cat": "dog", "dog": "cat"}}, {"drop": ["cat"]}]})


def test_names_that_the_files_have_are_no_change(upload, job):
    assert run(ImportSpec(source=upload, name="photos", class_names=("cat", "dog")), job).edits == {}


def test_a_merge_into_a_class_that_stays_can_be_told_from_a_new_name(upload, job):
    spec = {"source": upload.to_dict(), "name": "photos"}
    assert run(ImportSpec.parse({**spec, "edits": {"rename": {"cat": "dog"}}}), job).edits == {"rename": {"cat": "dog", "dog": "dog"}}
    assert run(ImportSpec.parse({**spec, "edits": {"rename": {"cat": "pet"}}}), job).edits == {"rename": {"cat": "pet"}}
    dropped = run(ImportSpec.parse({**spec, "edits": {"rename": {"cat": "dog"}, "drop": ["dog"]}}), job)
    assert dropped.edits == {"rename": {"cat": "dog"}, "drop": ["dog"]}


def test_a_preview_that_is_frozen_with_edits_keeps_the_report_of_its_files(upload, job, tmp_path):
    first = run(ImportSpec(source=upload, name="photos", preview=True), job)
    shutil.move(job.out / "dataset.tar", tmp_path / "preview.tar")
    edits = {"drop": ["dog"], "split": {"by": "seed", "val": 0.34, "test": 0}}
    source = {"ref": str(tmp_path / "preview.tar"), "name": "my photos.zip"}
    second = run(ImportSpec.parse({"source": source, "name": "photos", "edits": edits}), job)
    assert second.classes == ("cat",) and second.content_hash != first.content_hash
    assert second.report == first.report
    assert (second.form, second.preview, second.source) == ("canonical", False, "my photos.zip")


def test_statistics_and_leaks_are_in_the_result_and_leaks_are_one_warning(tmp_path, job):
    write_coco(tmp_path / "raw", [box(0, [1, 1, 9, 9])])
    write_coco(tmp_path / "raw", [], split="val", first_seed=20)
    with Image.open(tmp_path / "raw" / "train" / "001.jpg") as image:
        image.save(tmp_path / "raw" / "val" / "002.jpg", quality=70)
    result = run(ImportSpec(source=InputFile(ref=str(tmp_path / "raw")), name="mine", options={"keep_splits": True}), job)
    assert (result.leaks.checked, result.leaks.exact, result.leaks.near) == (6, 0, 1)
    assert result.statistics.image_sizes == {"64x48": 6}
    assert sum(result.statistics.original.counts) == 1 and set(result.statistics.at_input) == {"224", "320", "416", "640"}
    (warning,) = warnings_of(job)
    assert warning.startswith("leaks: 1 pairs") and "train/001.jpg (train) and val/002.jpg (val)" in warning


def test_an_edit_that_names_no_class_leaves_nothing(upload, job):
    with pytest.raises(InvalidInput, match=r"field 'edits\.drop': there is no class 'cow'; the classes are cat, dog"):
        run(ImportSpec.parse({"source": upload.to_dict(), "name": "photos", "edits": {"drop": ["cow"]}}), job)
    assert [path.name for path in job.out.iterdir()] == ["events.jsonl"]


def test_a_data_set_of_the_catalogue_is_read_from_files_among_the_inputs_without_a_network(job, tmp_path, monkeypatch):
    root = tmp_path / "raw" / "PennFudanPed"
    for number in range(4):
        write_image(root / "PNGImages" / f"{number}.png", seed=number)
        (root / "Annotation").mkdir(exist_ok=True)
        text = f'Image filename : "PennFudanPed/PNGImages/{number}.png"\nBounding box for object 1 "PAS" (X) : (1, 1) - (9, 9)\n'
        (root / "Annotation" / f"{number}.txt").write_text(text)
    job.inputs.mkdir()
    shutil.make_archive(str(job.inputs / "PennFudanPed"), "zip", tmp_path / "raw")
    entry = replace(DATASETS["penn-fudan"], downloads=(Download("http://nowhere.invalid/PennFudanPed.zip", None),))
    monkeypatch.setitem(DATASETS, "penn-fudan", entry)
    result = run(ImportSpec(source=InputFile(ref="penn-fudan"), name="people"), job)
    assert (result.classes, sum(counts.images for counts in result.splits.values())) == (("person",), 4)
    assert (result.licence, result.source) == (entry.licence, entry.source)
    assert "checksum_not_published" in result.report.counts
    assert not (job.cache / "builtin").exists()


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
