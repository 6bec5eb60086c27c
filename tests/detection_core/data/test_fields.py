from __future__ import annotations

import itertools

import numpy as np
import pytest

from detection_core.data.fields import fields_clip
from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput

SMALL = {"train": 9, "val": 3, "test": 6}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return load_dataset("fields", cache_dir=tmp_path_factory.mktemp("cache"), options=SMALL)


def test_it_has_the_asked_images_and_both_classes_in_every_split(small):
    summary = small.summary()
    assert [summary[split].images for split in ("train", "val", "test")] == [9, 3, 6]
    assert all(count > 0 for split in summary.values() for count in split.per_class.values())
    assert (small.form, small.classes) == ("builtin", ("crop", "weed"))


def test_the_same_seed_gives_the_same_data_set_and_another_seed_another(small, tmp_path):
    again = load_dataset("fields", cache_dir=tmp_path, options=SMALL)
    other = load_dataset("fields", cache_dir=tmp_path, options={**SMALL, "seed": 1})
    assert small.content_hash == again.content_hash != other.content_hash


def test_it_is_made_once(small):
    written = (small.root / "dataset.json").stat().st_mtime_ns
    again = load_dataset("fields", cache_dir=small.root.parent.parent, options=SMALL)
    assert (again.root / "dataset.json").stat().st_mtime_ns == written


def test_no_place_stands_in_two_splits(small):
    places = {}
    for record in small.records:
        places.setdefault(record.group, set()).add(record.split)
    assert all(len(splits) == 1 for splits in places.values())


def test_boxes_are_inside_the_image_and_hold_green_pixels_that_the_ground_lacks(small):
    inside, outside = [], []
    for record in small.records:
        image = small.read_image(record).astype(float)
        green = image[:, :, 1] - image[:, :, [0, 2]].mean(axis=2)
        mask = np.zeros(green.shape, dtype=bool)
        for x1, y1, x2, y2 in record.boxes.astype(int):
            assert 0 <= x1 < x2 <= record.width
            assert 0 <= y1 < y2 <= record.height
            mask[y1:y2, x1:x2] = True
            inside.append(green[y1:y2, x1:x2].max())
        outside.append(np.percentile(green[~mask], 99))
    assert np.percentile(inside, 5) > np.median(outside)


def test_objects_get_smaller_with_height_from_over_50_pixels_to_under_8(small):
    sides = {}
    for record in small.records:
        sides.setdefault(record.file.split("_")[-1], []).extend(np.sqrt(record.area).tolist())
    assert np.median(sides["10m.jpg"]) > 1.4 * np.median(sides["20m.jpg"]) > 1.6 * np.median(sides["30m.jpg"])
    everything = np.concatenate([record.area for record in small.records])
    assert 5 <= np.sqrt(everything.min()) < 8
    assert np.sqrt(everything.max()) > 50


def test_one_height_can_be_asked_for(tmp_path):
    dataset = load_dataset("fields", cache_dir=tmp_path, options={"train": 2, "val": 1, "test": 1, "altitude_m": [20], "size": 128})
    assert all(record.file.endswith("_20m.jpg") and record.width == 128 for record in dataset.records)


def test_an_unknown_option_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="'colour' is not known"):
        load_dataset("fields", cache_dir=tmp_path, options={"colour": 1})


def test_in_a_clip_a_plant_keeps_its_number_and_moves_against_the_camera():
    frames = list(fields_clip(seed=4, frames=6, size=160, pixels_per_frame=6, heading=0.0))
    assert len(frames) == 6
    centres = []
    for frame in frames:
        centres.append(
            {track: ((box[0] + box[2]) / 2, box[0], box[2]) for track, box in zip(frame.track_ids.tolist(), frame.boxes, strict=True)}
        )
    compared = 0
    for before, after in itertools.pairwise(centres):
        for track in before.keys() & after.keys():
            if before[track][1] > 8 and before[track][2] < 152 and after[track][1] > 0:
                assert abs(before[track][0] - after[track][0] - 6) <= 1.5
                compared += 1
    assert compared > 10


def test_a_clip_is_the_same_each_time():
    first, second = (next(fields_clip(seed=2, frames=2, size=96)).image.tobytes() for _ in range(2))
    assert first == second
