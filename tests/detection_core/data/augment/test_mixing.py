"""Several images in one: where each lies, and whose objects stay."""

from __future__ import annotations

import numpy as np

from detection_core.data.augment.compose import augment
from detection_core.data.augment.mixing import copy_paste, mixup, mosaic
from detection_core.data.augment.sample import MIN_VISIBLE
from tests.detection_core.data.augment.makers import NONE, POLICY, painted

SIZE = {"width": POLICY.width, "height": POLICY.height}


def test_a_mosaic_shows_four_images_around_a_centre_with_their_objects_in_place():
    # Each image is its object: the box of a quarter is the quarter.
    four = [painted(colour, [[0.0, 0, 320, 256]]) for colour in (50, 100, 150, 200)]
    centres, kept = set(), 0
    for seed in range(60):
        made = mosaic(four, POLICY, NONE, np.random.default_rng(seed))
        grey = made.pixels[:, :, 0]
        x, y = int((grey[0] == 50).sum()), int((grey[:, 0] == 50).sum())
        assert 40 <= x <= 120 and 32 <= y <= 96
        for colour, corner in ((50, grey[:y, :x]), (100, grey[:y, x:]), (150, grey[y:, :x]), (200, grey[y:, x:])):
            assert (corner == colour).all()
        quarters = [[0, 0, x, y], [x, 0, 160, y], [0, y, x, 128], [x, y, 160, 128]]
        large = [quarter for quarter in quarters if (quarter[2] - quarter[0]) * (quarter[3] - quarter[1]) >= MIN_VISIBLE * 160 * 128]
        assert made.boxes.tolist() == large
        centres.add((x, y))
        kept += len(large)
    assert len(centres) > 50 and kept > 60


def test_a_mosaic_keeps_small_objects_where_they_are_seen():
    white = np.full((256, 320, 3), 0, dtype=np.uint8)
    white[100:130, 90:140] = 255
    image = painted(0, [[90.0, 100, 140, 130]])
    image.pixels[:] = white
    seen = 0
    for seed in range(40):
        made = mosaic([image, *[painted(0)] * 3], POLICY, NONE, np.random.default_rng(seed))
        if len(made.boxes):
            rows, columns = np.nonzero(made.pixels[:, :, 0] > 150)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(made.boxes[0], found, atol=1.01)
            seen += 1
    assert seen > 10


def test_mixup_lays_two_canvases_over_each_other_and_keeps_the_objects_of_both():
    first, second = painted(200, [[1.0, 2, 3, 4]], **SIZE), painted(100, [[5.0, 6, 7, 8]], **SIZE)
    greys = []
    for seed in range(300):
        mixed = mixup(first, second, np.random.default_rng(seed))
        assert len(np.unique(mixed.pixels)) == 1
        greys.append(int(mixed.pixels[0, 0, 0]))
        assert mixed.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    shares = (np.array(greys) - 100) / 100
    # Beta(1.5, 1.5) has the mean 1/2 and the variance 1/16.
    assert abs(shares.mean() - 0.5) < 0.05 and abs(shares.var() - 1 / 16) < 0.015


def test_a_pasted_object_lies_whole_on_the_canvas_and_its_border_fades():
    source = painted(250, [[40.0, 30, 80, 70]], **SIZE)
    made = copy_paste(painted(50, **SIZE), source, np.random.default_rng(0))
    row = made.pixels[50, :, 0].astype(int)
    assert (row[40:80] == 250).all(), "the object is not blended"
    assert row[39] > row[37] > 50 and (row[:36] == 50).all() and (row[84:] == 50).all()
    assert made.boxes.tolist() == [[40, 30, 80, 70]] and made.labels.tolist() == [1]


def test_an_object_that_is_covered_goes_and_one_that_is_half_seen_stays():
    onto = painted(50, [[42.0, 32, 60, 60], [60.0, 30, 100, 70], [120.0, 90, 140, 110]], **SIZE)
    made = copy_paste(onto, painted(250, [[40.0, 30, 80, 70]], **SIZE), np.random.default_rng(0))
    assert made.boxes.tolist() == [[60, 30, 100, 70], [120, 90, 140, 110], [40, 30, 80, 70]]
    assert 0.3 < made.visible[0] < 0.5 and made.visible[1] == 1


def test_some_objects_are_pasted_and_always_one():
    source = painted(250, [[10.0 * n, 10, 10 * n + 8, 18] for n in range(8)], **SIZE)
    counts = [len(copy_paste(painted(50, **SIZE), source, np.random.default_rng(seed)).boxes) for seed in range(100)]
    assert min(counts) >= 1 and max(counts) > 5 and 3.5 < np.mean(counts) < 5.5
    nothing = copy_paste(painted(50, **SIZE), painted(250, **SIZE), np.random.default_rng(0))
    assert (nothing.pixels == 50).all()


def test_each_kind_of_mixing_asks_for_other_images_as_often_as_its_probability_says():
    for name, others in (("mosaic", 3), ("mixup", 1), ("copy_paste", 1)):
        asked = []

        def other(rng, asked=asked):
            asked.append(1)
            return painted(100, [[10.0, 10, 200, 200]])

        settings = NONE.model_copy(update={name: 0.5})
        for seed in range(200):
            augment(painted(50), other, POLICY, settings, np.random.default_rng(seed))
        assert 70 < len(asked) / others < 130, name
        del asked[:]
        augment(painted(50), other, POLICY, settings.closed(), np.random.default_rng(0))
        assert not asked, "nothing is mixed when the training closes"
