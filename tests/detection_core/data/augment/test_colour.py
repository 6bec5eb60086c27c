"""Hue, greyscale, blur and noise."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from detection_core.data.augment.colour import blurred, recoloured
from tests.detection_core.data.augment.makers import NONE

RGB = (0, 1, 2)
LUMA = np.array([0.299, 0.587, 0.114])


def made(colour, seed=0, **settings):
    pixels = np.empty((8, 8, 3), dtype=np.uint8)
    pixels[:] = colour
    return recoloured(pixels, NONE.model_copy(update=settings), np.random.default_rng(seed), RGB)


def test_a_turn_of_the_hue_keeps_the_luma_and_leaves_grey_alone():
    hues = []
    for seed in range(50):
        colour = made((120, 90, 80), seed, hue=0.2)[:, 0, 0]
        assert LUMA @ colour == pytest.approx(LUMA @ [120, 90, 80], abs=0.05)
        hues.append(colorsys.rgb_to_hsv(*colour)[0])
        np.testing.assert_allclose(made((77, 77, 77), seed, hue=0.2)[:, 0, 0], 77, atol=0.05)
    spread = (np.array(hues) - colorsys.rgb_to_hsv(120, 90, 80)[0] + 0.5) % 1 - 0.5
    # Circles of NTSC and of HSV are not the same one, but nearly.
    assert -0.27 < spread.min() < -0.12 and 0.12 < spread.max() < 0.27


def test_greyscale_comes_as_often_as_its_probability_says_and_keeps_the_luma():
    grey = 0
    for seed in range(200):
        colour = made((200, 90, 30), seed, greyscale=0.25)[:, 0, 0]
        assert LUMA @ colour == pytest.approx(LUMA @ [200, 90, 30], abs=0.05)
        grey += np.ptp(colour) < 0.01
    assert 30 < grey < 75


def test_noise_has_at_most_the_deviation_asked_for():
    deviations = [made((120, 120, 120), seed, noise=0.1).std() for seed in range(40)]
    assert 0 < min(deviations) < 8 and 15 < max(deviations) < 255 * 0.1 * 1.25
    assert made((255, 255, 255), 1, noise=0.1).max() <= 255


def test_blur_comes_as_often_as_its_probability_says_and_spreads_an_edge():
    edge = np.zeros((16, 16, 3), dtype=np.uint8)
    edge[:, 8:] = 200
    changed = [(blurred(edge, NONE.model_copy(update={"blur": 0.5}), np.random.default_rng(seed)) != edge).any() for seed in range(100)]
    assert 30 < sum(changed) < 70
    assert blurred(edge, NONE, np.random.default_rng(0)) is edge
