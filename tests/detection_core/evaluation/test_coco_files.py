"""COCO files that people hand in: what is filled in, and the sentence for each thing that is wrong."""

from __future__ import annotations

import gc
import gzip
import json

import numpy as np
import pytest

from detection_core.evaluation.coco_files import read_detections, read_ground_truth, write_detections
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.schemas.base import InvalidInput

ANNOTATION = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40]}


def ground_truth(**changes):
    return {"images": [{"id": 7}], "categories": [{"id": 3}], "annotations": [dict(ANNOTATION)], **changes}


def written(tmp_path, data, name="gt.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_area_crowd_flag_and_class_name_are_filled_in(tmp_path):
    read = read_ground_truth(written(tmp_path, ground_truth()))
    assert read["annotations"][0]["area"] == 1200 and read["annotations"][0]["iscrowd"] == 0
    assert read["categories"][0]["name"] == "3"
    assert coco_metrics(read, [{**ANNOTATION, "score": 0.5}])[0].ap == pytest.approx(1)


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "gt.json"
    path.write_bytes(gzip.compress(json.dumps(ground_truth()).encode()))
    assert len(read_ground_truth(path)["images"]) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"images": [', ["gt.json is not JSON", "line 1"]),
        ("[" * 100_000, ["gt.json is not JSON"]),
        ([], ["gt.json", "not a list"]),
        ({"images": [], "categories": []}, ["gt.json", "'annotations' is missing"]),
        (ground_truth(images=[7]), ["images[0] is not an object"]),
        (ground_truth(images=[{"id": "7"}]), ["images[0] has id '7'", "whole number"]),
        (ground_truth(images=[{"id": 7}, {"id": 7}]), ["images[1] has the id 7 of an earlier entry"]),
        (ground_truth(annotations=[{**ANNOTATION, "image_id": 8}]), ["annotations[0] has image_id 8", "not in images"]),
        (ground_truth(annotations=[{**ANNOTATION, "category_id": 4}]), ["annotations[0] has category_id 4", "not in categories"]),
        (ground_truth(annotations=[{**ANNOTATION, "bbox": [1, 2, 3]}]), ["annotations[0] has bbox [1, 2, 3]", "[x, y, width, height]"]),
        (ground_truth(annotations=[{**ANNOTATION, "bbox": [1, 2, -3, 4]}]), ["annotations[0]", "negative size"]),
        (ground_truth(annotations=[{**ANNOTATION, "bbox": [1, float("nan"), 3, 4]}]), ["annotations[0] has bbox nan", "finite"]),
        (ground_truth(annotations=[{**ANNOTATION, "area": 10**400}]), ["annotations[0] has area", "finite"]),
    ],
)
def test_broken_ground_truth_gets_one_sentence_that_names_the_place(tmp_path, data, words):
    with pytest.raises(InvalidInput) as error:
        read_ground_truth(written(tmp_path, data))
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ["dt.json", "list"]),
        ([7], ["entry 0 is not an object"]),
        ([{**ANNOTATION, "image_id": 8, "score": 1}], ["entry 0 has image_id 8", "ground truth"]),
        ([{**ANNOTATION}], ["entry 0 has score None"]),
        ([{**ANNOTATION, "score": 1}, {**ANNOTATION, "score": float("inf")}], ["entry 1 has score inf"]),
        ([{**ANNOTATION, "category_id": True, "score": 1}], ["entry 0 has category_id True"]),
    ],
)
def test_broken_results_get_one_sentence_that_names_the_entry(tmp_path, data, words):
    with pytest.raises(InvalidInput) as error:
        read_detections(written(tmp_path, data, "dt.json"), ground_truth())
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_missing_file_a_folder_and_a_cut_off_gzip_get_a_sentence(tmp_path):
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(gzip.compress(json.dumps(ground_truth()).encode())[:-12])
    for path, words in ((tmp_path / "none.json", "there is no file"), (tmp_path, "is a folder"), (cut, "broken gzip")):
        with pytest.raises(InvalidInput, match=words):
            read_ground_truth(path)


def test_detections_of_foreign_classes_are_counted_and_passed_over(tmp_path):
    rows, foreign = read_detections(
        written(tmp_path, [{**ANNOTATION, "score": 0.5}, {**ANNOTATION, "category_id": 99, "score": 0.9}]), ground_truth()
    )
    assert foreign == 1 and len(rows) == 2
    truth = read_ground_truth(written(tmp_path, ground_truth()))
    for engine in ("hotcoco", "pycocotools"):
        assert coco_metrics(truth, rows, engine=engine)[0].ap == pytest.approx(1)


NAMED = {
    "images": [{"id": 7, "file_name": "images/a/one.jpg"}, {"id": 8, "file_name": "images/b/one.jpg"}, {"id": 9, "file_name": "two.jpg"}],
    "categories": [{"id": 3}],
    "annotations": [],
}


def test_a_file_name_may_stand_in_place_of_an_image_id(tmp_path):
    names = ["images/a/one.jpg", "b/one.jpg", "two.jpg"]
    entries = [{"file_name": name, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5} for name in names]
    rows, _ = read_detections(written(tmp_path, [*entries, {**ANNOTATION, "score": 0.5}], "dt.json"), NAMED)
    assert rows[:, 0].tolist() == [7, 8, 9, 7] and rows[0].tolist() == [7, 1, 2, 30, 40, 0.5, 3]


@pytest.mark.parametrize("name", ["one.jpg", "three.jpg", 7])
def test_a_file_name_that_names_no_one_image_is_refused(tmp_path, name):
    entry = {"file_name": name, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5}
    with pytest.raises(InvalidInput, match=r"entry 0 has file_name .*, which names no one image"):
        read_detections(written(tmp_path, [entry], "dt.json"), NAMED)


def test_whole_numbers_and_an_empty_file_are_read(tmp_path):
    rows, _ = read_detections(written(tmp_path, [{**ANNOTATION, "score": 1}], "dt.json"), ground_truth())
    assert rows.tolist() == [[7, 1, 2, 30, 40, 1, 3]]
    assert read_detections(written(tmp_path, [], "none.json"), ground_truth())[0].shape == (0, 7)


def test_the_collector_is_on_again_after_a_file_whether_good_or_bad(tmp_path):
    read_ground_truth(written(tmp_path, ground_truth()))
    with pytest.raises(InvalidInput):
        read_detections(tmp_path / "none.json", ground_truth())
    assert gc.isenabled()


def random_detections(count=200):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 300, (count, 4))
    return np.column_stack([np.full(count, 7.0), boxes, rng.random(count).astype(np.float32), np.full(count, 3.0)])


def test_written_detections_read_back_to_the_last_bit(tmp_path):
    rows = random_detections()
    write_detections(tmp_path / "dt.json.gz", rows)
    read, _ = read_detections(tmp_path / "dt.json.gz", ground_truth())
    assert np.array_equal(rows, read)


def test_equal_detections_give_equal_bytes_at_any_time(tmp_path, monkeypatch):
    for name, now in (("one.json.gz", 1e9), ("other.json.gz", 2e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_detections(tmp_path / name, random_detections())
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "other.json.gz").read_bytes()


def test_no_detections_are_an_empty_list(tmp_path):
    write_detections(tmp_path / "dt.json.gz", np.zeros((0, 7)))
    assert json.loads(gzip.decompress((tmp_path / "dt.json.gz").read_bytes())) == []
