"""A data set written in each form and read back has equal boxes, classes and splits, as far as the form can say them."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from detection_core.__main__ import main
from detection_core.data.dataset import SPLITS
from detection_core.data.load import load_dataset
from detection_core.data.writers import FORMS, ExportImage, export_images, members, tar_chunks, write_form
from detection_core.schemas.base import InvalidInput
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import box, load, write_coco, write_image

# How far a coordinate may be from the one that was written, in pixels.
PRECISION = {"coco": 1e-9, "yolo": 1e-5, "voc": 0.0051}
KEEP = {"keep_splits": True}


@pytest.fixture
def dataset(tmp_path):
    """Three splits; file names that meet, with spaces and dots; crowds, an empty image, boxes at the border and of part of a pixel."""
    for number, split in enumerate(("train", "val", "test")):
        rows = [
            box(0, [0.123456789, 2.2, 10.987654321, 20.5], area=33.25),
            box(0, [40, 8, 24, 40], category=7),
            box(1, [60.5, 44.5, 3.5, 3.5]),
            box(1, [3, 3, 9, 9], category=7, iscrowd=1),
        ]
        write_coco(tmp_path / "d", rows, images=3, split=split, first_seed=10 * number, categories=((3, "a & b"), (7, 'the "dog"')))
        for old, new in (("001.jpg", f"photo of {split}.v1.jpg"), ("002.jpg", f"{split} only.jpg")):
            (tmp_path / "d" / split / old).rename(tmp_path / "d" / split / new)
            path = tmp_path / "d" / "annotations" / f"instances_{split}.json"
            path.write_text(path.read_text().replace(old, new))
    return load(tmp_path / "d")


def by_bytes(dataset):
    return {record.sha256: record for record in dataset.records}


def rows_of(record, classes, *, crowds=True):
    rows = zip(record.boxes.tolist(), record.labels.tolist(), record.iscrowd.tolist(), strict=True)
    return [(classes[label], bool(crowd), box) for box, label, crowd in rows if crowds or not crowd]


def written(dataset, form, tmp_path):
    write_form(dataset, form, tmp_path / f"{form}.tar")
    return load_dataset(str(tmp_path / f"{form}.tar"), cache_dir=tmp_path / "cache", options=KEEP)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_reads_back_with_equal_boxes_and_splits(dataset, form, tmp_path):
    again = written(dataset, form, tmp_path)
    assert again.form == form
    old, new = by_bytes(dataset), by_bytes(again)
    assert old.keys() == new.keys()
    for sha256, record in old.items():
        read = new[sha256]
        assert (read.split, read.width, read.height) == (record.split, record.width, record.height)
        wanted, found = rows_of(record, dataset.classes, crowds=form != "yolo"), rows_of(read, again.classes)
        assert [row[:2] for row in found] == [row[:2] for row in wanted]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one[2], other[2], rtol=0, atol=PRECISION[form])
    assert set(again.report.counts) <= {"difficult_object"}


def test_coco_keeps_area_and_the_order_of_classes(dataset, tmp_path):
    again = written(dataset, "coco", tmp_path)
    assert again.classes == dataset.classes
    first = by_bytes(again)[dataset.records[0].sha256]
    np.testing.assert_array_equal(first.area, dataset.records[0].area)


def test_yolo_says_that_crowd_boxes_were_left_out(dataset, tmp_path):
    write_form(dataset, "yolo", tmp_path / "d.tar")
    with tarfile.open(tmp_path / "d.tar") as tar:
        assert "3 of the boxes were left out" in tar.extractfile("README.txt").read().decode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["bccd/bccd.tar", "sesame-weeds/sesame-weeds.tar", "coco-mini"])
def test_real_data_goes_through_every_form(tmp_path, form, name):
    folder = data_folder(name.split("/")[0])
    dataset = load_dataset(str(folder.parent / name), cache_dir=tmp_path / "cache", options=KEEP)
    again = written(dataset, form, tmp_path)
    old, new = by_bytes(dataset), by_bytes(again)
    assert {sha256: record.split for sha256, record in old.items()} == {sha256: record.split for sha256, record in new.items()}
    for sha256, record in old.items():
        wanted, found = rows_of(record, dataset.classes, crowds=form != "yolo"), rows_of(new[sha256], again.classes)
        assert [row[0] for row in found] == [row[0] for row in wanted]
        np.testing.assert_allclose([row[2] for row in found], [row[2] for row in wanted], rtol=0, atol=PRECISION[form])


def test_files_of_one_name_in_several_folders_stay_apart(tmp_path):
    listed = [{"id": number, "file_name": f"{folder}/a.jpg"} for number, folder in enumerate(("one", "two", "two/three"))]
    listed.append({"id": 9, "file_name": "A.jpg"})
    for number, row in enumerate(listed):
        write_image(tmp_path / "d" / "train" / row["file_name"], seed=70 + number)
    write_coco(tmp_path / "d", [box(1, [1, 1, 5, 5])], images=0, listed=listed)
    dataset = load(tmp_path / "d")
    assert len(dataset.records) == 4
    for form in FORMS:
        again = written(dataset, form, tmp_path)
        assert {sha256: len(record.boxes) for sha256, record in by_bytes(again).items()} == {
            sha256: len(record.boxes) for sha256, record in by_bytes(dataset).items()
        }


def test_no_more_than_one_image_is_asked_for_at_a_time_and_equal_data_gives_equal_bytes(dataset):
    asked: list[str] = []

    def read(image: ExportImage) -> bytes:
        asked.append(image.file)
        return (dataset.root / image.file).read_bytes()

    def chunks():
        return tar_chunks(members("yolo", name="d", classes=dataset.classes, images=export_images(dataset)), read)

    stream = chunks()
    next(stream)
    assert asked == []
    first = b"".join(chunks())
    assert asked == [record.file for record in dataset.records]
    assert first == b"".join(chunks())
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        assert len(tar.getnames()) == 2 + 2 * len(dataset.records)


def test_the_text_of_a_coco_file_comes_in_pieces_that_are_whole_json(dataset):
    content = dict(members("coco", name="d", classes=dataset.classes, images=export_images(dataset), licence="CC0"))
    pieces = list(content["annotations/instances_train.json"]())
    assert len(pieces) > 2 * len(dataset.split("train"))
    told = json.loads(b"".join(pieces))
    assert [row["id"] for row in told["annotations"]] == [1, 2, 3, 4]
    assert told["info"] == {"description": "d", "licence": "CC0", "url": ""}
    assert [row["name"] for row in told["categories"]] == list(dataset.classes)


def test_empty_splits_are_not_written(dataset, tmp_path):
    small = replace(dataset, records=dataset.split("val"))
    again = written(small, "voc", tmp_path)
    assert [split for split in SPLITS if again.split(split)] == ["val"]
    with tarfile.open(tmp_path / "voc.tar") as tar:
        assert "ImageSets/Main/train.txt" not in tar.getnames()


def test_a_form_that_is_not_written_is_named(dataset, tmp_path):
    with pytest.raises(InvalidInput, match="use one of coco, yolo, voc"):
        write_form(dataset, "csv", tmp_path / "d.tar")
    assert not (tmp_path / "d.tar").exists()


def test_an_image_that_is_gone_is_named_and_nothing_is_written(dataset, tmp_path):
    (dataset.root / dataset.records[2].file).unlink()
    with pytest.raises(InvalidInput, match=r"is not there any more"):
        write_form(dataset, "coco", tmp_path / "out.tar")
    assert not list(tmp_path.glob("*out.tar*"))


def test_the_command_writes_a_form_and_says_what_is_in_it(dataset, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "made" / "d.tar"
    words = ["convert", "--dataset", str(dataset.root), "--form", "voc", "--out", str(out), "--keep-splits", "--json"]
    assert main(words) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["images"] == {"train": 3, "val": 3, "test": 3} and document["path"] == str(out)
    assert load_dataset(str(out), cache_dir=tmp_path / "cache", options=KEEP).form == "voc"
