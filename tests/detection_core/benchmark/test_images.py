"""Which images are timed."""

from __future__ import annotations

import numpy as np

from detection_core.benchmark.images import choose_images, load_images, save_images
from detection_core.data.dataset import ImageRecord


def records(count, side=100):
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0)
    return [ImageRecord(number, f"{number}.png", side, side, "test", None, "0" * 64, *nothing) for number in range(1, count + 1)]


def test_the_choice_is_seeded_and_has_no_image_twice():
    first, again, other = (choose_images(records(50), seed=seed, most=20) for seed in (1, 1, 2))
    assert [record.file for record in first] == [record.file for record in again] != [record.file for record in other]
    assert len({record.file for record in first}) == 20


def test_a_small_split_is_taken_whole():
    assert len(choose_images(records(7), seed=0)) == 7


def test_decoded_images_stay_within_the_memory_allowed_and_one_is_always_taken():
    assert len(choose_images(records(50), seed=0, most_bytes=5 * 30_000)) == 5
    assert len(choose_images(records(50), seed=0, most_bytes=10)) == 1


def test_decoded_images_reach_another_process_unchanged_and_in_order(tmp_path):
    images = [np.full((3 + number, 4, 3), number, np.uint8) for number in range(12)]
    save_images(tmp_path / "images.npz", images)
    found = load_images(tmp_path / "images.npz")
    assert all((a == b).all() and a.dtype == np.uint8 for a, b in zip(images, found, strict=True))
