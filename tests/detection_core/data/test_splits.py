from __future__ import annotations

import pytest

from detection_core.data.health import HealthLog
from detection_core.data.load import load_dataset
from detection_core.data.splits import assign_splits, split_named
from tests.detection_core.data.makers import write_image

KEYS = [f"key {number}" for number in range(200)]


def dealt(given, keys=KEYS, seed=0):
    log = HealthLog()
    return assign_splits(given, keys, seed=seed, log=log, where="d"), log.report().counts


def shares(splits):
    return tuple(splits.count(name) for name in ("train", "val", "test"))


def test_without_any_split_images_are_dealt_70_15_15():
    splits, counts = dealt([None] * 200)
    assert shares(splits) == (140, 30, 30)
    assert counts == {"split_made": 1}


def test_the_deal_depends_on_the_seed_and_not_on_the_order():
    splits, _ = dealt([None] * 200)
    backwards, _ = dealt([None] * 200, keys=KEYS[::-1])
    assert splits == backwards[::-1]
    assert splits != dealt([None] * 200, seed=1)[0]


def test_images_of_one_group_go_the_same_way():
    keys = [f"group {number // 5}" for number in range(200)]
    splits, _ = dealt([None] * 200, keys=keys)
    assert all(len(set(splits[start : start + 5])) == 1 for start in range(0, 200, 5))
    assert shares(splits) == (140, 30, 30)


def test_a_missing_test_split_is_half_of_val_where_val_is_large():
    splits, counts = dealt(["train"] * 160 + ["val"] * 40)
    assert shares(splits) == (160, 20, 20)
    assert set(splits[:160]) == {"train"}
    assert counts == {"split_made": 1}


def test_a_small_val_split_is_left_alone():
    splits, counts = dealt(["train"] * 161 + ["val"] * 39)
    assert shares(splits) == (161, 39, 0)
    assert counts == {"no_test_split": 1}


def test_a_missing_val_split_is_taken_from_train():
    splits, _ = dealt(["train"] * 170 + ["test"] * 30)
    assert shares(splits) == (140, 30, 30)
    assert set(splits[170:]) == {"test"}


def test_a_lone_val_split_stays_whole():
    assert dealt(["val"] * 200) == (["val"] * 200, {})


def test_given_splits_stay_as_they_are_and_loose_images_join_train():
    given = ["train"] * 100 + ["val"] * 50 + ["test"] * 40 + [None] * 10
    splits, counts = dealt(given)
    assert splits == given[:190] + ["train"] * 10
    assert counts == {"split_made": 1}


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train2017", "train"),
        ("instances_val2017", "val"),
        ("valid", "val"),
        ("Test", "test"),
        ("my-train.set", "train"),
        ("training", "train"),
        ("images", None),
        ("contrast", None),
        ("train_val", None),
    ],
)
def test_a_split_is_known_by_its_name(word, split):
    assert split_named(word) == split


def test_altered_copies_of_one_photograph_stay_together(tmp_path):
    for photo in range(12):
        for copy in range(3):
            name = f"photo{photo}_jpg.rf.{photo:04x}{copy:04x}00"
            write_image(tmp_path / "d" / "images" / f"{name}.png", seed=10 * photo + copy, width=16, height=16)
            (tmp_path / "d" / "labels").mkdir(exist_ok=True)
            (tmp_path / "d" / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5")
    dataset = load_dataset(str(tmp_path / "d"), cache_dir=tmp_path)
    by_group = {}
    for record in dataset.records:
        by_group.setdefault(record.group, set()).add(record.split)
    assert len(by_group) == 12
    assert all(len(splits) == 1 for splits in by_group.values())
