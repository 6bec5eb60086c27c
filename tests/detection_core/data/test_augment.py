from __future__ import annotations

import numpy as np
import pytest

from detection_core.data.augment import MIN_VISIBLE, augment
from detection_core.data.preprocess import preprocess
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

POLICY = InputPolicy(height=128, width=160, mean=(0, 0, 0), std=(1, 1, 1))
NONE = Augmentation(flip_horizontal=0, flip_vertical=0, color=0, scale_min=1, scale_max=1)


def scene(width=320, height=256, box=(80, 60, 140, 150)):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image, np.array([box], dtype=np.float64), np.array([1])


def bright_box(planes):
    rows, columns = np.nonzero(planes[0] > 0.6)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_without_randomness_it_equals_preprocess(order):
    image = np.random.default_rng(0).integers(0, 255, (256, 320, 3), dtype=np.uint8)
    policy = InputPolicy(height=128, width=160, channel_order=order)
    planes, boxes, labels = augment(image, np.array([[10.0, 20, 60, 70]]), np.array([1]), policy, NONE, np.random.default_rng(0))
    expected, placement = preprocess(image, policy)
    np.testing.assert_allclose(planes, expected, atol=1e-5)
    np.testing.assert_allclose(boxes, placement.to_input(np.array([[10.0, 20, 60, 70]])))
    assert (planes.dtype, boxes.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    assert planes.flags.c_contiguous


def test_boxes_follow_the_object_through_zoom_shift_and_flips():
    seen = set()
    for seed in range(40):
        settings = Augmentation(flip_horizontal=0.5, flip_vertical=0.5, color=0, scale_min=0.5, scale_max=1.2)
        planes, boxes, _ = augment(*scene(), POLICY, settings, np.random.default_rng(seed))
        if len(boxes):
            np.testing.assert_allclose(bright_box(planes), boxes[0], atol=1.01)
            seen.add(tuple(boxes[0].round().tolist()))
    assert len(seen) > 30


def test_an_object_cut_by_the_border_keeps_a_box_of_what_is_in_view():
    kept = dropped = 0
    for seed in range(200):
        zoom = Augmentation(flip_horizontal=0, color=0, scale_min=1.0, scale_max=3.0)
        _, boxes, _ = augment(*scene(box=(0, 0, 60, 60)), POLICY, zoom, np.random.default_rng(seed))
        if len(boxes):
            kept += 1
            assert boxes.min() >= 0
            assert (boxes[:, 2] <= POLICY.width).all()
            assert (boxes[:, 3] <= POLICY.height).all()
            assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
        else:
            dropped += 1
    assert kept > 10
    assert dropped > 10
    assert 0 < MIN_VISIBLE < 1


def test_labels_stay_with_their_boxes():
    image = np.zeros((256, 320, 3), dtype=np.uint8)
    boxes = np.array([[5.0, 5, 6, 5.2], [50, 60, 90, 100]])  # the first is thinner than a pixel once scaled
    _, out, labels = augment(image, boxes, np.array([0, 1]), POLICY, NONE, np.random.default_rng(0))
    assert labels.tolist() == [1]
    assert out.tolist() == [[25, 30, 45, 50]]


def test_an_image_without_objects_gives_empty_arrays_of_the_right_shape():
    _, boxes, labels = augment(scene()[0], np.zeros((0, 4)), np.zeros(0, np.int64), POLICY, Augmentation(), np.random.default_rng(0))
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first, second, other = (augment(*scene(), POLICY, Augmentation(), np.random.default_rng(seed))[0].tobytes() for seed in (5, 5, 6))
    assert first == second != other


def test_colour_changes_stay_in_range_and_within_the_strength():
    image = np.full((128, 160, 3), (120, 100, 80), dtype=np.uint8)
    values = []
    for seed in range(50):
        settings = Augmentation(flip_horizontal=0, color=0.3, scale_min=1, scale_max=1)
        planes, _, _ = augment(image, np.zeros((0, 4)), np.zeros(0), POLICY, settings, np.random.default_rng(seed))
        assert planes.min() >= 0
        assert planes.max() <= 1
        values.append(float(planes.mean()))
    assert 0.6 * 100 / 255 < min(values) < 0.9 * 100 / 255
    assert 1.1 * 100 / 255 < max(values) < 1.4 * 100 / 255
