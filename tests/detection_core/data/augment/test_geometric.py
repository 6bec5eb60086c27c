"""Crops: a tile of a large image, SSD's random patch, and the rule by which objects stay."""

from __future__ import annotations

import numpy as np

from detection_core.data.augment.geometric import PATCH_ASPECTS, PATCH_SIDES, iou_crop, native_tile
from detection_core.data.augment.sample import MIN_VISIBLE, Sample
from tests.detection_core.data.augment.makers import POLICY, painted


def numbered(width, height, boxes=()):
    """A picture whose pixels tell where they are: red is the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns % 256, rows % 256, rows * 0], axis=2).astype(np.uint8)
    return Sample.of(pixels, np.array(boxes, dtype=np.float64), np.arange(len(boxes)))


def origin(part):
    return int(part.pixels[0, 0, 0]), int(part.pixels[0, 0, 1])


def test_a_tile_of_a_large_image_is_as_large_as_the_input_and_its_pixels_are_untouched():
    large = numbered(250, 240, [[100.0, 100, 110, 112]])
    places = set()
    for seed in range(60):
        tile = native_tile(large, POLICY, np.random.default_rng(seed))
        assert (tile.width, tile.height) == (POLICY.width, POLICY.height)
        left, top = origin(tile)
        places.add((left, top))
        np.testing.assert_array_equal(tile.pixels, large.pixels[top : top + 128, left : left + 160])
        if len(tile.boxes):
            assert (tile.boxes[0, 2:] <= [10 + 100 - left, 12 + 100 - top]).all()
    assert len(places) > 50


def test_a_tile_of_a_small_image_is_the_image():
    small = numbered(100, 90, [[1.0, 2, 3, 4]])
    tile = native_tile(small, POLICY, np.random.default_rng(0))
    np.testing.assert_array_equal(tile.pixels, small.pixels)
    np.testing.assert_array_equal(tile.boxes, small.boxes)


def test_a_patch_keeps_to_the_papers_sides_and_every_object_in_it_to_our_rule():
    image = numbered(250, 200, [[30.0, 30, 90, 90], [150.0, 100, 220, 180]])
    whole = patches = 0
    for seed in range(200):
        patch = iou_crop(image, np.random.default_rng(seed))
        if patch.pixels.shape == image.pixels.shape:
            whole += 1
            continue
        patches += 1
        left, top = origin(patch)
        assert PATCH_SIDES[0] - 0.01 <= patch.width / 250 <= 1 and PATCH_SIDES[0] - 0.01 <= patch.height / 200 <= 1
        assert PATCH_ASPECTS[0] <= patch.width / patch.height <= PATCH_ASPECTS[1]
        assert len(patch.boxes)
        for box, label, visible in zip(patch.boxes, patch.labels, patch.visible, strict=True):
            mine = image.boxes[label]
            expected = np.clip(mine - [left, top, left, top], 0, [patch.width, patch.height, patch.width, patch.height])
            np.testing.assert_allclose(box, expected)
            assert np.isclose(visible, np.prod(expected[2:] - expected[:2]) / np.prod(mine[2:] - mine[:2])) and visible >= MIN_VISIBLE
    assert whole > 10 and patches > 60


def test_a_patch_must_overlap_an_object_as_much_as_was_drawn(monkeypatch):
    monkeypatch.setattr("detection_core.data.augment.geometric.PATCH_OVERLAPS", (0.5,))
    image = numbered(250, 200, [[50.0, 50, 170, 150]])
    for seed in range(60):
        patch = iou_crop(image, np.random.default_rng(seed))
        left, top = origin(patch)
        width, height = min(left + patch.width, 170) - max(left, 50), min(top + patch.height, 150) - max(top, 50)
        shared = width * height
        overlap = shared / (120 * 100 + patch.width * patch.height - shared)
        assert overlap >= 0.5 or patch.pixels.shape == image.pixels.shape


def test_an_image_without_objects_and_one_of_extreme_shape_stay_whole():
    for image in (painted(90), numbered(8, 6000, [[0.0, 10, 8, 300]])):
        for seed in range(20):
            assert iou_crop(image, np.random.default_rng(seed)).pixels.shape == image.pixels.shape


def test_parts_are_counted_of_the_whole_object_over_several_cuts():
    sample = painted(0, [[0.0, 0, 100, 100]])
    half = sample.cropped(0, 0, 50, 200)
    assert half.visible.tolist() == [0.5] and half.boxes.tolist() == [[0, 0, 50, 100]]
    assert half.cropped(0, 0, 50, 60).visible.tolist() == [0.3]
    assert len(half.cropped(0, 0, 50, 45).boxes) == 0, "0.45 of the half is less than a quarter of the whole"
