"""What a person corrects before a data set is frozen: names, classes, splits."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.data import edits as edits_module
from detection_core.data.canonical import write_canonical
from detection_core.data.edits import apply_edits, group_names
from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.specs import DatasetEdits
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import box, load, problems, write_coco, write_image, write_yolo

CATEGORIES = ((1, "cat"), (2, "dog"), (3, "bird"))


def edited(dataset, **changes):
    return apply_edits(dataset, DatasetEdits.parse(changes))


def split_anew(dataset, **rule):
    return edited(dataset, split=rule)


@pytest.fixture
def animals(tmp_path):
    rows = [box(0, [1, 2, 9, 9], category=1), box(0, [5, 5, 9, 9], category=2), box(1, [3, 3, 9, 9], category=3)]
    write_coco(tmp_path / "d", rows, categories=CATEGORIES)
    return load(tmp_path / "d")


@pytest.fixture
def many(tmp_path):
    """Twelve images of four flights, some in a folder of their own."""
    for number in range(12):
        name = f"flight{number // 3}_{number:02d}"
        write_image(tmp_path / "d" / "images" / f"{name}.png", seed=number, width=16, height=16)
        (tmp_path / "d" / "labels").mkdir(exist_ok=True)
        (tmp_path / "d" / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5")
    return load(tmp_path / "d")


def splits_of(dataset):
    return {split: [record.file.split("/")[-1] for record in dataset.split(split)] for split in ("train", "val", "test")}


def test_without_edits_the_data_set_is_the_same(animals):
    assert apply_edits(animals, DatasetEdits()) is animals


def test_two_names_are_exchanged_at_once(animals):
    dataset = edited(animals, rename={"cat": "dog", "dog": "cat"})
    assert dataset.classes == ("dog", "cat", "bird")
    assert dataset.records[0].labels.tolist() == [0, 1]
    assert dataset.content_hash != animals.content_hash
    assert edited(dataset, rename={"cat": "dog", "dog": "cat"}).content_hash == animals.content_hash


def test_two_classes_with_one_new_name_become_one_where_the_first_stood(animals):
    dataset = edited(animals, rename={"cat": "pet", "dog": "pet"})
    assert dataset.classes == ("pet", "bird")
    assert [record.labels.tolist() for record in dataset.records[:2]] == [[0, 0], [1]]
    assert edited(animals, rename={"bird": "cat"}).classes == ("cat", "dog")


def test_boxes_that_are_equal_after_a_merge_are_kept_once_with_a_line(tmp_path):
    write_coco(tmp_path / "d", [box(0, [1, 2, 9, 9], category=1), box(0, [1, 2, 9, 9], category=2)], categories=CATEGORIES)
    dataset = edited(load(tmp_path / "d"), rename={"dog": "cat"})
    assert dataset.records[0].labels.tolist() == [0]
    assert dataset.report.counts == {"duplicate_annotation": 1}
    assert dataset.report.issues[0].file == "train/000.jpg"


def test_a_dropped_class_takes_its_boxes_and_leaves_the_images(animals):
    dataset = edited(animals, drop=["cat"], rename={"bird": "fowl"})
    assert dataset.classes == ("dog", "fowl")
    assert len(dataset.records) == len(animals.records)
    assert [record.labels.tolist() for record in dataset.records[:2]] == [[0], [1]]
    np.testing.assert_array_equal(dataset.records[0].boxes, animals.records[0].boxes[1:])
    assert len(dataset.records[0].area) == len(dataset.records[0].iscrowd) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rename": {"cow": "calf"}}, r"field 'edits\.rename': there is no class 'cow'; the classes are cat, dog, bird"),
        ({"drop": ["cow"]}, r"field 'edits\.drop': there is no class 'cow'; the classes are cat, dog, bird"),
        ({"drop": ["cat", "dog", "bird"]}, "leaves no class"),
        ({"drop": ["cat"], "rename": {"cat": "dog"}}, "take it out of one of them"),
        ({"rename": {"cat": " dog"}}, "begins or ends with a space"),
    ],
)
def test_what_names_no_class_is_refused_with_the_names_there_are(animals, changes, words):
    with pytest.raises(InvalidInput, match=words):
        edited(animals, **changes)


def test_a_split_by_seed_has_its_shares_and_depends_on_the_seed_alone(many):
    dataset = split_anew(many, by="seed", val=0.25, test=0.25)
    assert {split: len(files) for split, files in splits_of(dataset).items()} == {"train": 6, "val": 3, "test": 3}
    assert splits_of(split_anew(many, by="seed", val=0.25, test=0.25)) == splits_of(dataset)
    assert splits_of(split_anew(many, by="seed", val=0.25, test=0.25, seed=1)) != splits_of(dataset)
    assert dataset.content_hash != many.content_hash
    assert splits_of(split_anew(many, by="seed", val=0.25, test=0))["test"] == []


def test_a_split_by_group_keeps_groups_whole_and_the_images_carry_them(many):
    dataset = split_anew(many, by="group", group_pattern=r"(flight\d+)_", val=0.25, test=0.25)
    found = {}
    for record in dataset.records:
        found.setdefault(record.group, set()).add(record.split)
    assert sorted(found) == ["flight0", "flight1", "flight2", "flight3"]
    assert all(len(splits) == 1 for splits in found.values())
    again = split_anew(dataset, by="seed", val=0.25, test=0.25, seed=5)
    assert all(len({record.split for record in again.records if record.group == group}) == 1 for group in found)
    assert split_anew(dataset, by="group", val=0.25, test=0.25).content_hash == dataset.content_hash


def test_lists_that_tear_a_group_apart_are_followed_with_a_line(many):
    grouped = split_anew(many, by="group", group_pattern=r"(flight\d+)_", val=0.25, test=0.25)
    assert "group_in_two_splits" not in grouped.report.counts
    torn = next(record for record in grouped.records if record.group == "flight0")
    dataset = split_anew(grouped, by="list", lists={"val": [torn.file]})
    assert dataset.report.counts["group_in_two_splits"] == 1
    assert problems(dataset, "flight0") == ["images of one group stand in train and val"]


def test_names_that_the_pattern_does_not_find_stand_alone_with_a_line(many):
    dataset = split_anew(many, by="group", group_pattern=r"flight([012])", val=0.25, test=0.25)
    assert [record.group for record in dataset.records].count(None) == 3
    assert dataset.report.counts["no_group"] == 1


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"by": "group"}, r"carry no groups; give 'edits\.split\.group_pattern'"),
        ({"by": "group", "group_pattern": "("}, "is no regular expression"),
        ({"by": "group", "group_pattern": "flug"}, r"finds nothing in a name such as images/flight0_00\.png"),
        ({"by": "group", "group_pattern": "(flight)"}, r"the val split would have no image \(12 images in 1 groups\)"),
        ({"by": "seed", "val": 0.6, "test": 0.4}, "make their sum less than 1"),
        ({"by": "seed", "val": 0.01, "test": 0}, "the val split would have no image"),
        ({"by": "list"}, r"'edits\.split\.lists' names no image"),
        ({"by": "list", "lists": {"val": ["gone.png"]}}, r"1 names are of no image \(gone\.png\)"),
        ({"by": "list", "lists": {"val": ["flight0_00"], "test": ["flight0_00.png"]}}, "stands in the lists of val and of test"),
        ({"by": "list", "lists": {"val": ["flight0_00"], "test": []}}, "the test split would have no image"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_why(many, rule, words):
    with pytest.raises(InvalidInput, match=words):
        split_anew(many, **rule)


def test_a_pattern_that_never_ends_is_refused_and_ended(many, monkeypatch):
    monkeypatch.setattr(edits_module, "PATTERN_TIMEOUT_S", 0.5)
    with pytest.raises(InvalidInput, match="without a repeat inside a repeat"):
        group_names(["a" * 60 + "!.png"], r"(a+)+$")


def test_lists_name_images_by_path_name_or_stem_and_the_rest_goes_to_train(many):
    lists = {"val": ["flight0_00.png", "flight0_01"], "test": ["C:\\data\\images\\flight3_11.png", "./images/flight2_07.png"]}
    dataset = split_anew(many, by="list", lists=lists)
    assert splits_of(dataset)["val"] == ["flight0_00.png", "flight0_01.png"]
    assert splits_of(dataset)["test"] == ["flight2_07.png", "flight3_11.png"]
    assert len(splits_of(dataset)["train"]) == 8
    assert dataset.report.counts["split_made"] == 1


def test_a_name_that_may_mean_two_images_needs_its_folder(tmp_path):
    write_yolo(tmp_path / "d", {"one/a": "0 0.5 0.5 0.2 0.2\n", "two/a": "0 0.5 0.5 0.2 0.2\n", "b": "0 0.5 0.5 0.2 0.2\n"})
    dataset = load(tmp_path / "d")
    with pytest.raises(InvalidInput, match=r"'a\.png' may mean 2 images; give its folders too"):
        split_anew(dataset, by="list", lists={"val": ["a.png"]})
    assert splits_of(split_anew(dataset, by="list", lists={"val": ["two/a.png"]}))["val"] == ["a.png"]


def test_the_canonical_form_is_edited_under_the_names_of_its_source(many, tmp_path):
    write_canonical(many, tmp_path / "d.tar")
    again = load_dataset(str(tmp_path / "d.tar"), cache_dir=tmp_path / "cache")
    rule = {"by": "group", "group_pattern": "^images/(flight.)", "val": 0.25, "test": 0.25}
    assert split_anew(again, **rule).content_hash == split_anew(many, **rule).content_hash


def test_the_names_of_sesame_weeds_are_exchanged(tmp_path):
    dataset = load_dataset(str(data_folder("sesame-weeds") / "sesame-weeds.tar"), cache_dir=tmp_path)
    assert dataset.classes == ("weed", "crop")
    corrected = edited(dataset, rename={"weed": "crop", "crop": "weed"})
    named = load_dataset(f"{data_folder('sesame-weeds') / 'sesame-weeds.tar'}:names=crop,weed", cache_dir=tmp_path)
    assert corrected.content_hash == named.content_hash
