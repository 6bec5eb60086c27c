from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection_core.data.canonical import content_hash, write_canonical
from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput
from tests.detection_core.data.makers import box, load, write_coco


def sample(root, first_box=(1.1, 2, 10, 20)):
    write_coco(root, [box(0, list(first_box), area=3.25), box(1, [0, 0, 9, 9], category=7, iscrowd=1)])
    return load(root)


def repack(tar_path, folder, change):
    """Unpack a tar, let `change` alter the folder, and pack it again."""
    with tarfile.open(tar_path) as tar:
        tar.extractall(folder, filter="data")
    change(folder)
    with tarfile.open(tar_path, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(folder).as_posix())
    return str(tar_path)


def test_what_is_written_reads_back_equal_to_the_last_bit(tmp_path):
    dataset = sample(tmp_path / "d")
    write_canonical(dataset, tmp_path / "d.tar")
    again = load_dataset(str(tmp_path / "d.tar"), cache_dir=tmp_path / "cache")
    assert (again.name, again.classes, again.content_hash, again.form) == (dataset.name, dataset.classes, dataset.content_hash, "canonical")
    for old, new in zip(dataset.records, again.records, strict=True):
        assert (old.image_id, old.width, old.height, old.split, old.sha256) == (new.image_id, new.width, new.height, new.split, new.sha256)
        for field in ("boxes", "labels", "iscrowd", "area"):
            assert getattr(old, field).dtype == getattr(new, field).dtype
            np.testing.assert_array_equal(getattr(old, field), getattr(new, field))
        np.testing.assert_array_equal(dataset.read_image(old), again.read_image(new))


def test_equal_data_sets_give_equal_bytes_whatever_the_times_of_files(tmp_path):
    dataset = sample(tmp_path / "one" / "d")
    write_canonical(dataset, tmp_path / "one.tar")
    other = sample(tmp_path / "two" / "d")
    for record in other.records:
        os.utime(other.root / record.file, (1, 1))
    write_canonical(other, tmp_path / "two.tar")
    again = load_dataset(str(tmp_path / "two.tar"), cache_dir=tmp_path / "cache")
    write_canonical(again, tmp_path / "three.tar")
    hashes = {hashlib.sha256((tmp_path / f"{name}.tar").read_bytes()).hexdigest() for name in ("one", "two", "three")}
    assert len(hashes) == 1


def test_the_content_hash_ignores_file_names_and_sees_boxes_labels_splits_and_pixels(tmp_path):
    plain = sample(tmp_path / "a" / "d").content_hash
    write_coco(tmp_path / "b" / "d", [box(0, [1.1, 2, 10, 20], area=3.25), box(1, [0, 0, 9, 9], category=7, iscrowd=1)])
    path = tmp_path / "b" / "d" / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for index, image in enumerate(content["images"]):
        image["file_name"] = f"renamed{9 - index}.jpg"
        (tmp_path / "b" / "d" / "train" / f"{index:03d}.jpg").rename(tmp_path / "b" / "d" / "train" / image["file_name"])
    path.write_text(json.dumps(content))
    assert load(tmp_path / "b" / "d").content_hash == plain
    changed = {sample(tmp_path / "c" / "d", first_box=(1.1, 2, 10, 20.0001)).content_hash}
    for name, rows in {
        "label": [box(0, [1.1, 2, 10, 20], area=3.25, category=7), box(1, [0, 0, 9, 9], category=7, iscrowd=1)],
        "crowd": [box(0, [1.1, 2, 10, 20], area=3.25), box(1, [0, 0, 9, 9], category=7)],
        "area": [box(0, [1.1, 2, 10, 20]), box(1, [0, 0, 9, 9], category=7, iscrowd=1)],
    }.items():
        write_coco(tmp_path / name / "d", rows)
        changed.add(load(tmp_path / name / "d").content_hash)
    same_rows = [box(0, [1.1, 2, 10, 20], area=3.25), box(1, [0, 0, 9, 9], category=7, iscrowd=1)]
    write_coco(tmp_path / "split" / "d", same_rows, split="val")
    write_coco(tmp_path / "pixels" / "d", same_rows, first_seed=70)
    changed |= {load(tmp_path / "split" / "d").content_hash, load(tmp_path / "pixels" / "d").content_hash}
    assert len(changed) == 6
    assert plain not in changed


@pytest.mark.parametrize("head", ["format first", "keys sorted"])
def test_a_data_set_of_three_thousand_long_names_reads_back(tmp_path, head):
    names = tuple((number, f"class {number} " + "x" * 80) for number in range(3000))
    write_coco(tmp_path / "d", [box(0, [1, 1, 9, 9], category=2999)], categories=names)
    dataset = load(tmp_path / "d")
    write_canonical(dataset, tmp_path / "d.tar")

    def sort_keys(folder):  # as it was written once
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, separators=(",", ":")))

    path = repack(tmp_path / "d.tar", tmp_path / "x", sort_keys if head == "keys sorted" else lambda folder: None)
    again = load_dataset(path, cache_dir=tmp_path / "cache")
    assert (again.form, again.classes, again.content_hash) == ("canonical", dataset.classes, dataset.content_hash)


def test_a_check_of_what_an_import_wrote_changes_nothing(tmp_path):
    write_coco(tmp_path / "d", [box(0, [60, 40, 10, 10], area=3.25), box(1, [0.1, 0.2, 9, 9], category=7, iscrowd=1)])
    dataset = load(tmp_path / "d")
    write_canonical(dataset, tmp_path / "d.tar")
    plain, checked = (load_dataset(str(tmp_path / "d.tar"), cache_dir=tmp_path / "cache", check=check) for check in (False, True))
    assert (checked.content_hash, checked.report, checked.form) == (dataset.content_hash, dataset.report, "canonical")
    assert [(record.file, record.image_id, record.group) for record in checked.records] == [
        (record.file, record.image_id, record.group) for record in plain.records
    ]
    write_canonical(checked, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "d.tar").read_bytes()


def test_a_check_keeps_groups_splits_and_what_a_person_told(tmp_path):
    dataset = sample(tmp_path / "d")
    records = tuple(replace(record, group="one flight", split="val") for record in dataset.records)
    grouped = replace(dataset, records=records, content_hash=content_hash(dataset.classes, records), licence="CC0", source="a field")
    write_canonical(grouped, tmp_path / "d.tar")
    checked = load_dataset(str(tmp_path / "d.tar"), cache_dir=tmp_path / "cache", check=True)
    assert (checked.content_hash, checked.licence, checked.source) == (grouped.content_hash, "CC0", "a field")
    assert checked.source_categories == dataset.source_categories != {}
    assert [record.source_id for record in checked.records] == [record.source_id for record in dataset.records] == [0, 1, 2]


@pytest.mark.parametrize("linked", ["an image", "the folder of images", "the index", "the only folder"])
def test_a_link_leads_out_of_no_folder(tmp_path, linked):
    """A folder of the server is read as it lies there: what a link in it leads to is somebody else's."""
    write_canonical(sample(tmp_path / "d"), tmp_path / "d.tar")
    with tarfile.open(tmp_path / "d.tar") as tar:
        tar.extractall(tmp_path / "outside", filter="data")
    open_folder = tmp_path / "open" / "set"
    shutil.copytree(tmp_path / "outside", open_folder)
    place = {
        "an image": Path("images/train/000.jpg"),
        "the folder of images": Path("images"),
        "the index": Path("dataset.json"),
        "the only folder": Path(),
    }[linked]
    taken = open_folder / place
    shutil.rmtree(taken) if taken.is_dir() else taken.unlink()
    taken.symlink_to(tmp_path / "outside" / place)
    with pytest.raises(InvalidInput, match=r"not under images/|holds no data set"):
        load_dataset(str(tmp_path / "open"), cache_dir=tmp_path / "cache")


def test_an_altered_index_is_refused(tmp_path):
    write_canonical(sample(tmp_path / "d"), tmp_path / "d.tar")

    def alter(folder):
        index = json.loads((folder / "dataset.json").read_text())
        index["images"][0]["labels"][0] = 1
        (folder / "dataset.json").write_text(json.dumps(index))

    with pytest.raises(InvalidInput, match="altered"):
        load_dataset(repack(tmp_path / "d.tar", tmp_path / "x", alter), cache_dir=tmp_path / "cache")


def test_another_picture_under_the_same_name_is_refused(tmp_path):
    write_canonical(sample(tmp_path / "d"), tmp_path / "d.tar")
    path = repack(tmp_path / "d.tar", tmp_path / "x", lambda folder: (folder / "images/train/000.jpg").write_bytes(b"other"))
    with pytest.raises(InvalidInput, match=r"000\.jpg' is not the one"):
        load_dataset(path, cache_dir=tmp_path / "cache")


def test_an_index_that_points_outside_its_folder_is_refused(tmp_path):
    write_canonical(sample(tmp_path / "d"), tmp_path / "d.tar")

    def alter(folder):
        (folder / "images/train/000.jpg").rename(folder / "outside.jpg")
        text = (folder / "dataset.json").read_text()
        (folder / "dataset.json").write_text(text.replace('"train/000.jpg"', '"../outside.jpg"'))

    with pytest.raises(InvalidInput, match="not under images/"):
        load_dataset(repack(tmp_path / "d.tar", tmp_path / "x", alter), cache_dir=tmp_path / "cache")


def test_an_image_that_changed_meanwhile_stops_the_writing_and_leaves_nothing(tmp_path):
    dataset = sample(tmp_path / "d")
    (tmp_path / "d" / "train" / "002.jpg").write_bytes(b"other")
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInput, match="changed while"):
        write_canonical(dataset, tmp_path / "out" / "d.tar")
    assert list((tmp_path / "out").iterdir()) == []
