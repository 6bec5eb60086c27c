from __future__ import annotations

import numpy as np
import pytest

from detection_core.data.preprocess import preprocess
from detection_core.schemas.manifest import InputPolicy

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_normalised():
    policy = InputPolicy(height=64, width=96)
    image = picture(96, 64)
    out, placement = preprocess(image, policy)
    expected = ((image / 255.0 - np.array(policy.mean)) / np.array(policy.std)).transpose(2, 0, 1)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert (out.dtype, out.shape, out.flags.c_contiguous) == (np.float32, (3, 64, 96), True)
    assert (placement.scale_x, placement.scale_y) == (1.0, 1.0)


def test_letterbox_keeps_the_aspect_and_pads_right_and_bottom():
    policy = InputPolicy(height=64, width=64, pad_value=114, **PLAIN)
    out, placement = preprocess(np.full((100, 200, 3), 255, dtype=np.uint8), policy)
    assert (placement.scale_x, placement.scale_y) == (0.32, 0.32)
    assert (out[:, :32] == 1).all()
    np.testing.assert_array_equal(out[:, 32:], np.float32(114 / 255))
    tall, _ = preprocess(np.full((200, 100, 3), 255, dtype=np.uint8), policy)
    assert (tall[:, :, :32] == 1).all()
    np.testing.assert_array_equal(tall[:, :, 32:], np.float32(114 / 255))


def test_stretch_fills_the_input_with_its_own_scale_for_each_side():
    out, placement = preprocess(np.full((100, 200, 3), 255, dtype=np.uint8), InputPolicy(height=64, width=64, resize="stretch", **PLAIN))
    assert (out == 1).all()
    assert (placement.scale_x, placement.scale_y) == (0.32, 0.64)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(640, 480), (333, 777), (31, 20), (1, 500), (4000, 3000)])
def test_boxes_go_to_the_input_and_back(resize, size):
    width, height = size
    _, placement = preprocess(np.zeros((height, width, 3), dtype=np.uint8), InputPolicy(height=224, width=320, resize=resize))
    boxes = np.array([[0, 0, width, height], [width * 0.2, height * 0.1, width * 0.7, height * 0.9]])
    inside = placement.to_input(boxes)
    assert inside[:, 2].max() <= 320 + 1e-9
    assert inside[:, 3].max() <= 224 + 1e-9
    np.testing.assert_allclose(placement.to_image(inside), boxes, atol=1e-9)


def test_detections_on_the_padding_are_clipped_to_the_image():
    _, placement = preprocess(picture(200, 100), InputPolicy(height=64, width=64))
    np.testing.assert_allclose(placement.to_image(np.array([[-5.0, 10.0, 70.0, 60.0]])), [[0, 31.25, 200, 100]])


def test_an_object_lies_in_the_input_where_its_box_says():
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    image[100:200, 320:480] = 255
    out, placement = preprocess(image, InputPolicy(height=192, width=256, **PLAIN))
    x1, y1, x2, y2 = placement.to_input(np.array([[320.0, 100.0, 480.0, 200.0]]))[0]
    bright = np.argwhere(out[0] > 0.5)
    np.testing.assert_allclose(
        [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max() + 1, bright[:, 0].max() + 1], [x1, y1, x2, y2], atol=1
    )


def test_the_same_image_gives_the_same_bytes():
    policy = InputPolicy(height=256, width=256)
    first, second = preprocess(picture(641, 479), policy)[0], preprocess(picture(641, 479), policy)[0]
    assert first.tobytes() == second.tobytes()


def test_the_order_of_colours_is_kept():
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:, :, 0] = 255
    out, _ = preprocess(image, InputPolicy(height=32, width=32, **PLAIN))
    assert out.mean(axis=(1, 2)).tolist() == [1.0, 0.0, 0.0]


def test_blue_first_turns_the_channels_around_and_normalises_them_in_that_order():
    image = picture(200, 120)
    told = {"height": 64, "width": 96, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    out, placement = preprocess(image, InputPolicy(**told, channel_order="bgr"))
    expected, same = preprocess(np.ascontiguousarray(image[:, :, ::-1]), InputPolicy(**told))
    np.testing.assert_array_equal(out, expected)
    assert placement == same and out.flags.c_contiguous
