from __future__ import annotations

import json

import numpy as np
import pytest

from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import box, load, problems, write_coco, write_image


def test_sparse_category_ids_become_labels_in_order_of_id(tmp_path):
    write_coco(tmp_path / "d", [box(0, [1, 2, 10, 20], category=7), box(1, [1, 2, 10, 20], category=3)])
    dataset = load(tmp_path / "d")
    assert dataset.classes == ("cat", "dog")
    assert [record.labels.tolist() for record in dataset.records] == [[1], [0], []]
    assert dataset.records[0].boxes.tolist() == [[1, 2, 11, 22]]


def test_area_and_crowd_of_the_source_are_kept(tmp_path):
    write_coco(tmp_path / "d", [box(0, [1, 2, 10, 20], area=77.5, iscrowd=1), box(0, [0, 0, 4, 5])])
    record = load(tmp_path / "d").records[0]
    assert record.area.tolist() == [77.5, 20.0]
    assert record.iscrowd.tolist() == [True, False]


def test_a_listed_image_that_is_not_there_is_reported_by_name_and_left_out(tmp_path):
    listed = [{"id": 0, "file_name": "000.jpg"}, {"id": 9, "file_name": "gone.jpg"}]
    write_coco(tmp_path / "d", [box(9, [1, 1, 5, 5]), box(0, [1, 1, 5, 5])], listed=listed)
    dataset = load(tmp_path / "d")
    assert [record.file for record in dataset.records] == ["train/000.jpg"]
    assert dataset.report.counts == {"missing_image": 1}
    assert "no such file" in problems(dataset, "gone.jpg")[0]


def test_every_wrong_annotation_is_counted_and_none_stops_the_reading(tmp_path):
    rows = [
        box(0, [1, 1, 5, 5]),
        box(0, [1, 1, 5, 5], category=99),
        box(0, [1, 1, 5]),
        box(0, ["a", 1, 5, 5]),
        box(0, [float("nan"), 1, 5, 5]),
        box(55, [1, 1, 5, 5]),
        "not a row",
        {"id": 4},
        box(0, [10**400, 1, 5, 5]),
    ]
    write_coco(tmp_path / "d", rows)  # type: ignore[arg-type]
    dataset = load(tmp_path / "d")
    assert len(dataset.records[0].boxes) == 1
    assert dataset.report.counts == {"unknown_class": 1, "malformed_box": 6, "unknown_image": 1}


def test_an_image_id_that_is_used_twice_is_reported(tmp_path):
    listed = [{"id": 0, "file_name": "000.jpg"}, {"id": 0, "file_name": "001.jpg"}]
    write_coco(tmp_path / "d", [box(0, [1, 1, 5, 5])], listed=listed)
    assert load(tmp_path / "d").report.counts == {"duplicate_image_id": 1}


def test_broken_json_alone_is_an_error_that_names_the_file(tmp_path):
    write_image(tmp_path / "d" / "a.jpg")
    (tmp_path / "d" / "instances_train.json").write_text('{"images": [')
    with pytest.raises(InvalidInput, match=r"instances_train\.json: this is not JSON"):
        load(tmp_path / "d")


def test_one_folder_a_split_as_roboflow_exports_is_read(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        write_image(tmp_path / "d" / split / "same_name.jpg", seed=number)
        content = {
            "images": [{"id": 1, "file_name": "same_name.jpg"}],
            "annotations": [box(1, [1, 1, 4, 4], category=1)],
            "categories": [{"id": 1, "name": "weed"}],
        }
        (tmp_path / "d" / split / "_annotations.coco.json").write_text(json.dumps(content))
    dataset = load_dataset(str(tmp_path / "d"), cache_dir=tmp_path)
    assert [(record.file, record.split) for record in dataset.records] == [
        ("test/same_name.jpg", "test"),
        ("train/same_name.jpg", "train"),
        ("valid/same_name.jpg", "val"),
    ]
    assert dataset.report.counts == {}


def test_two_names_for_one_category_id_are_refused(tmp_path):
    write_coco(tmp_path / "d", [], categories=((1, "cat"),))
    write_coco(tmp_path / "d", [], split="val", categories=((1, "dog"),), first_seed=50)
    with pytest.raises(InvalidInput, match="one list of categories"):
        load(tmp_path / "d")


def test_coco_mini_keeps_its_splits_and_names_the_images_that_are_not_there(tmp_path):
    dataset = load_dataset(str(data_folder("coco-mini")), cache_dir=tmp_path)
    summary = dataset.summary()
    assert (summary["train"].images, summary["val"].images, summary["test"].images) == (13, 20, 0)
    assert dataset.report.counts == {"missing_image": 67, "no_test_split": 1}
    assert len(dataset.classes) == 80
    assert dataset.classes[12] == "parking meter"  # id 14: the twelfth id is missing in COCO's list
    assert sum(record.iscrowd.sum() for record in dataset.records) == 2
    with pytest.raises(InvalidInput, match="has no test split; it has train and val"):
        dataset.require_split("test")


def test_ground_truth_given_back_equals_the_official_file(tmp_path):
    folder = data_folder("coco-mini")
    dataset = load_dataset(str(folder), cache_dir=tmp_path)
    official = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    names = {row["id"]: row["name"] for row in official["categories"]}
    files = {row["id"]: row["file_name"] for row in official["images"]}
    ours = dataset.coco(dataset.split("val"))
    our_names = {row["id"]: row["name"] for row in ours["categories"]}
    our_files = {row["id"]: row["file_name"].split("/")[-1] for row in ours["images"]}
    rows = sorted(
        (our_files[row["image_id"]], our_names[row["category_id"]], row["area"], row["iscrowd"], *row["bbox"])
        for row in ours["annotations"]
    )
    wanted = sorted(
        (files[row["image_id"]], names[row["category_id"]], row["area"], row["iscrowd"], *row["bbox"])
        for row in official["annotations"]
        if files[row["image_id"]] in set(our_files.values())
    )
    assert [row[:4] for row in rows] == [row[:4] for row in wanted]
    np.testing.assert_allclose([row[4:] for row in rows], [row[4:] for row in wanted], atol=0.06)
