from __future__ import annotations

import pytest

from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import load, voc_object, write_voc


def test_objects_become_boxes_and_classes_stand_in_alphabetical_order(tmp_path):
    write_voc(tmp_path / "deep" / "er", {"a": voc_object("weed", 1, 2, 11, 12) + voc_object("crop", 5, 5, 9.5, 9)})
    dataset = load(tmp_path / "deep")
    assert dataset.classes == ("crop", "weed")
    assert dataset.records[0].labels.tolist() == [1, 0]
    assert dataset.records[0].boxes.tolist() == [[1, 2, 11, 12], [5, 5, 9.5, 9]]


def test_lists_of_names_give_the_splits(tmp_path):
    write_voc(tmp_path / "d", {key: voc_object("crop", 1, 2, 11, 12) for key in ("a", "b", "c")})
    lists = tmp_path / "d" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, text in {"train": "a\n", "val": "b\n", "trainval": "a\nb\n", "test": "c\nd\n"}.items():
        (lists / f"{split}.txt").write_text(text)
    dataset = load(tmp_path / "d")
    assert [record.split for record in dataset.records] == ["train", "val", "test"]
    assert dataset.report.counts == {"missing_image": 1}  # d is listed and nowhere


def test_wrong_objects_are_dropped_with_a_line_each(tmp_path):
    text = (
        voc_object("crop", 1, 2, 11, 12)
        + voc_object("crop", "x", 2, 11, 12)
        + voc_object("", 1, 2, 11, 12)
        + "<object><name>crop</name></object>"
        + voc_object("crop", 20, 2, 30, 12, difficult=1)
    )
    write_voc(tmp_path / "d", {"a": text})
    dataset = load(tmp_path / "d")
    assert dataset.report.counts == {"malformed_box": 2, "unknown_class": 1, "difficult_object": 1}
    assert dataset.records[0].iscrowd.tolist() == [False, True]


def test_broken_xml_and_an_annotation_without_its_image_are_reported(tmp_path):
    write_voc(tmp_path / "d", {key: voc_object("crop", 1, 2, 11, 12) for key in ("a", "b", "c")})
    (tmp_path / "d" / "Annotations" / "b.xml").write_text("<annotation><object>")
    (tmp_path / "d" / "JPEGImages" / "c.jpg").unlink()
    dataset = load(tmp_path / "d")
    assert [record.file for record in dataset.records] == ["JPEGImages/a.jpg"]
    assert dataset.report.counts == {"broken_xml": 1, "missing_image": 1, "image_without_labels": 1}


def test_xml_with_entities_is_not_expanded(tmp_path):
    write_voc(tmp_path / "d", {"a": voc_object("crop", 1, 2, 11, 12)})
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename></annotation>'
    (tmp_path / "d" / "Annotations" / "b.xml").write_text(bomb)
    assert load(tmp_path / "d").report.counts == {"broken_xml": 1}


def test_annotations_without_any_name_are_an_error(tmp_path):
    write_voc(tmp_path / "d", {"a": ""})
    with pytest.raises(InvalidInput, match="names an object"):
        load(tmp_path / "d")


def test_bccd_is_read_from_its_tar_with_its_two_empty_boxes_reported(tmp_path):
    dataset = load_dataset(str(data_folder("bccd") / "bccd.tar"), cache_dir=tmp_path)
    summary = dataset.summary()
    assert [summary[split].images for split in ("train", "val", "test")] == [205, 87, 72]
    assert dataset.classes == ("Platelets", "RBC", "WBC")
    assert sum(split.boxes for split in summary.values()) == 4888 - 2
    assert dataset.report.counts == {"zero_size_box": 2}
    assert [issue.file[-9:] for issue in dataset.report.issues] == ["00338.jpg", "00343.jpg"]
