"""A training image from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.data.augment.compose import augment
from detection_core.data.augment.sample import MIN_VISIBLE, Sample
from detection_core.data.preprocess import preprocess
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation
from tests.detection_core.data.augment.makers import NONE, POLICY, alone, scene


def bright_box(planes):
    rows, columns = np.nonzero(planes[0] > 0.6)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_without_randomness_it_equals_preprocess(order):
    image = np.random.default_rng(0).integers(0, 255, (256, 320, 3), dtype=np.uint8)
    policy = InputPolicy(height=128, width=160, channel_order=order)
    planes, boxes, labels = alone(image, [[10.0, 20, 60, 70]], [1], policy, NONE, 0)
    expected, placement = preprocess(image, policy)
    np.testing.assert_allclose(planes, expected, atol=1e-5)
    np.testing.assert_allclose(boxes, placement.to_input(np.array([[10.0, 20, 60, 70]])))
    assert (planes.dtype, boxes.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    assert planes.flags.c_contiguous


def test_boxes_follow_the_object_through_zoom_shift_and_flips():
    seen = set()
    for seed in range(40):
        settings = Augmentation(flip_horizontal=0.5, flip_vertical=0.5, color=0, scale_min=0.5, scale_max=1.2)
        planes, boxes, _ = alone(*scene(), POLICY, settings, seed)
        if len(boxes):
            np.testing.assert_allclose(bright_box(planes), boxes[0], atol=1.01)
            seen.add(tuple(boxes[0].round().tolist()))
    assert len(seen) > 30


def test_an_object_cut_by_the_border_keeps_a_box_of_what_is_in_view():
    kept = dropped = 0
    for seed in range(200):
        zoom = Augmentation(flip_horizontal=0, color=0, scale_min=1.0, scale_max=3.0)
        _, boxes, _ = alone(*scene(box=(0, 0, 60, 60)), POLICY, zoom, seed)
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
    _, out, labels = alone(image, boxes, [0, 1], POLICY, NONE, 0)
    assert labels.tolist() == [1]
    assert out.tolist() == [[25, 30, 45, 50]]


def test_an_image_without_objects_gives_empty_arrays_of_the_right_shape():
    _, boxes, labels = alone(scene()[0], [], [], POLICY, Augmentation(), 0)
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first, second, other = (alone(*scene(), POLICY, Augmentation(), seed)[0].tobytes() for seed in (5, 5, 6))
    assert first == second != other


def test_colour_changes_stay_in_range_and_within_the_strength():
    image = np.full((128, 160, 3), (120, 100, 80), dtype=np.uint8)
    values = []
    for seed in range(50):
        settings = Augmentation(flip_horizontal=0, color=0.3, scale_min=1, scale_max=1)
        planes, _, _ = alone(image, [], [], POLICY, settings, seed)
        assert planes.min() >= 0
        assert planes.max() <= 1
        values.append(float(planes.mean()))
    assert 0.6 * 100 / 255 < min(values) < 0.9 * 100 / 255
    assert 1.1 * 100 / 255 < max(values) < 1.4 * 100 / 255


EVERYTHING = Augmentation(
    flip_vertical=0.5, hue=0.1, greyscale=0.2, blur=0.5, noise=0.05, tile=0.5, iou_crop=0.5, mosaic=0.5, mixup=0.5, copy_paste=0.5
)


def a_set(sizes):
    """Grey noise of several sizes with up to three objects each."""
    rng = np.random.default_rng(7)
    samples = []
    for width, height in sizes:
        corner = rng.random((int(rng.integers(4)), 2)) * [width / 2, height / 2]
        boxes = np.concatenate([corner, corner + rng.random(corner.shape) * [width / 2, height / 2]], axis=1)
        pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        samples.append(Sample.of(pixels, boxes, rng.integers(0, 3, len(boxes))))
    return samples


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_whatever_is_drawn_boxes_are_inside_and_values_in_range(resize):
    samples = a_set([(320, 256), (8, 6000), (6000, 8), (40, 30), (1, 1), (128, 160)])
    policy = POLICY.model_copy(update={"resize": resize})
    found = 0
    for seed in range(120):
        other = lambda rng: samples[int(rng.integers(len(samples)))]  # noqa: E731
        planes, boxes, labels = augment(samples[seed % len(samples)], other, policy, EVERYTHING, np.random.default_rng(seed))
        assert planes.shape == (3, 128, 160) and planes.dtype == np.float32 and np.isfinite(planes).all()
        assert planes.min() >= -1e-6 and planes.max() <= 1 + 1e-6
        assert boxes.shape == (len(labels), 4) and boxes.dtype == np.float32 and labels.dtype == np.int64
        assert (boxes >= 0).all() and (boxes <= [160, 128, 160, 128]).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) > 0.99).all()
        found += len(boxes)
    assert found > 100


def test_the_same_seed_gives_the_same_bytes_with_everything_on():
    samples = a_set([(320, 256), (200, 300), (150, 150)])

    def made(seed):
        other = lambda rng: samples[int(rng.integers(len(samples)))]  # noqa: E731
        return [part.tobytes() for part in augment(samples[0], other, POLICY, EVERYTHING, np.random.default_rng(seed))]

    assert [made(seed) for seed in range(20)] == [made(seed) for seed in range(20)]
    assert len({made(seed)[0] for seed in range(20)}) == 20


def test_a_recipe_of_before_the_mixing_gives_the_images_it_gave():
    """The sums are those of the library before mosaic, mixup and the others were there."""
    sums = []
    for seed in range(3):
        planes, boxes, _ = alone(*scene(), POLICY, Augmentation(flip_vertical=0.5), seed)
        sums.append((float(planes.astype(np.float64).sum()), float(boxes.astype(np.float64).sum())))
    np.testing.assert_allclose(sums, [(4868.106893, 372.3515625), (4651.361917, 261.0), (12320.048240, 252.3515625)], rtol=1e-6)
