from __future__ import annotations

import pytest

from detection_core.data.load import load_dataset
from detection_core.data.yolo_names import read_names
from detection_core.schemas.base import InvalidInput
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import load, write_image, write_yolo


def test_rows_become_boxes_in_pixels_of_the_image(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "1 0.5 0.5 0.25 0.5\n"})
    (record,) = load(tmp_path / "d").records
    assert record.boxes.tolist() == [[24, 12, 40, 36]]
    assert record.labels.tolist() == [1]
    assert record.area.tolist() == [16 * 24]


@pytest.mark.parametrize(
    "row", ["0 0.5 0.5 0.1", "0 0.5 0.5 0.1 0.1 0.9", "0 a 0.5 0.1 0.1", "0 nan 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1", "x 0 0 0 0"]
)
def test_a_row_that_cannot_be_read_is_dropped_with_a_line(tmp_path, row):
    write_yolo(tmp_path / "d", {"train/a": f"0 0.5 0.5 0.2 0.2\n{row}\n"})
    dataset = load(tmp_path / "d")
    assert len(dataset.records[0].boxes) == 1
    assert dataset.report.counts == {"malformed_row": 1}
    assert "labels/train/a.txt row 2" in dataset.report.issues[0].problem


def test_a_class_number_beyond_the_names_is_dropped_with_a_line(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "2 0.5 0.5 0.2 0.2\n-1 0.5 0.5 0.2 0.2\n"})
    assert load(tmp_path / "d").report.counts == {"unknown_class": 2}


def test_an_outline_becomes_the_box_around_it(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "0 0.25 0.25 0.75 0.25 0.5 0.75\n"})
    dataset = load(tmp_path / "d")
    assert dataset.records[0].boxes.tolist() == [[16, 12, 48, 36]]
    assert dataset.report.counts == {"polygon_row": 1}


def test_an_image_without_labels_stays_as_background_and_labels_without_an_image_are_reported(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "0 0.5 0.5 0.2 0.2\n"})
    write_image(tmp_path / "d" / "images" / "train" / "empty.png", seed=9)
    (tmp_path / "d" / "labels" / "train" / "lost.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    dataset = load(tmp_path / "d")
    assert len(dataset.records) == 2
    assert dataset.report.counts == {"image_without_labels": 1, "missing_image": 1}


def test_split_folders_may_stand_outside_images_and_labels(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        write_image(tmp_path / "d" / split / "images" / "a.png", seed=number)
        (tmp_path / "d" / split / "labels").mkdir()
        (tmp_path / "d" / split / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "d" / "data.yaml").write_text("names:\n  0: weed\n")
    assert [record.split for record in load(tmp_path / "d").records] == ["test", "train", "val"]


def test_classes_without_names_get_numbers_and_a_line(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "1 0.5 0.5 0.2 0.2\n"}, yaml=None)
    dataset = load(tmp_path / "d")
    assert dataset.classes == ("class 0", "class 1")
    assert dataset.report.counts == {"no_class_names": 1}


def test_new_class_names_change_the_hash_and_must_be_as_many(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "1 0.5 0.5 0.25 0.5\n"}, yaml='names: ["weed", "crop"]')
    plain = load_dataset(str(tmp_path / "d"), cache_dir=tmp_path)
    renamed = load_dataset(f"{tmp_path / 'd'}:names=crop,weed", cache_dir=tmp_path)
    assert (plain.classes, renamed.classes) == (("weed", "crop"), ("crop", "weed"))
    assert plain.content_hash != renamed.content_hash
    with pytest.raises(InvalidInput, match="3 class names were given"):
        load_dataset(f"{tmp_path / 'd'}:names=a,b,c", cache_dir=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        'names: ["weed", "it\'s"]',
        "names: [weed, it's]",
        "train: C:/Users/me\nnames:\n  - weed # the first\n  - it's\nnc: 2\n",
        "names:\n- 'weed'\n- 'it''s'\n",
        "names:\n  0: weed\n  1: it's\n",
        'names: {0: weed, 1: "it\'s"}',
        "names: ['weed',\n  'it''s']\nnc: 2",
    ],
)
def test_class_names_are_read_in_every_way_yaml_files_write_them(text):
    assert read_names(text) == ("weed", "it's")


def test_numbered_names_with_a_gap_are_not_guessed():
    assert read_names("names:\n  0: a\n  2: b\n") is None


def test_sesame_weeds_is_read_from_its_tar_with_names_corrected(tmp_path):
    tar = data_folder("sesame-weeds") / "sesame-weeds.tar"
    dataset = load_dataset(f"{tar}:names=crop,weed", cache_dir=tmp_path)
    summary = dataset.summary()
    assert [(summary[split].images, summary[split].boxes) for split in ("train", "val", "test")] == [(160, 268), (40, 82), (50, 74)]
    assert sum(summary[split].per_class["crop"] for split in summary) == 238
    assert dataset.form == "yolo"
    assert dataset.report.counts == {}
