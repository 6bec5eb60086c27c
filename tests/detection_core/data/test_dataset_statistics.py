from __future__ import annotations

import pytest

from detection_core.data.preprocess import fitted_size
from detection_core.data.statistics import INPUT_SIDES, dataset_statistics, histogram
from detection_core.schemas.manifest import InputPolicy
from tests.detection_core.data.makers import box, load, write_coco, write_image


def counted(sizes):
    """Lower edge -> count, without the empty ones."""
    return {edge: count for edge, count in zip(sizes.edges, sizes.counts, strict=False) if count}


@pytest.fixture
def statistics(tmp_path):
    rows = [box(0, [0, 0, 8, 8]), box(0, [0, 0, 4, 9], category=7), box(0, [0, 0, 40, 40]), box(1, [0, 0, 31, 33], iscrowd=1)]
    write_coco(tmp_path / "d", rows)
    write_image(tmp_path / "d" / "train" / "002.jpg", seed=9, width=100, height=30)
    return dataset_statistics(load(tmp_path / "d"))


def test_image_sizes_are_counted_the_commonest_first(statistics):
    assert list(statistics.image_sizes.items()) == [("64x48", 2), ("100x30", 1)]


def test_boxes_per_image_and_box_sides_are_counted(statistics):
    assert counted(statistics.boxes_per_image) == {0: 1, 1: 1, 3: 1}
    assert counted(statistics.original) == {4: 1, 8: 1, 24: 1, 32: 1}
    assert {name: counted(sizes) for name, sizes in statistics.per_class.items()} == {"cat": {8: 1, 24: 1, 32: 1}, "dog": {4: 1}}


def test_sides_at_the_input_are_those_after_the_one_preprocess(statistics):
    assert set(statistics.at_input) == {str(side) for side in INPUT_SIDES}
    policy = InputPolicy(width=416, height=416)
    scale = fitted_size(64, 48, policy)[0] / 64
    wanted = histogram([scale * side for side in (8, 6, 40, (31 * 33) ** 0.5)], statistics.original.edges)
    assert statistics.at_input["416"] == wanted


def test_a_value_on_an_edge_counts_above_it_and_the_last_count_is_open():
    assert histogram([0, 3.9, 4, 5, 8, 900], (0, 4, 8)).counts == (2, 4)
    assert histogram([], (0, 4, 8)).counts == (0, 0)


def test_a_data_set_without_boxes_has_statistics_too(tmp_path):
    write_coco(tmp_path / "d", [])
    found = dataset_statistics(load(tmp_path / "d"))
    assert counted(found.boxes_per_image) == {0: 3} and sum(found.original.counts) == 0
