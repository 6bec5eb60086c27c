"""Where anchors lie, and which anchors a recipe may ask for. That they are the networks' is tests/architecture's to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detection_core.assignment.layouts import AnchorOptions, has_layout, layout
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.specs import Detector
from detection_core.schemas.base import InvalidInput

FOUR = ((8,), (16,), (32,), (64,))


def levels_of(name, side=256, **options):
    return layout(DETECTORS[name], height=side, width=side, options=AnchorOptions.parse(options))


def test_assignment_needs_neither_torch_nor_pillow():
    code = (
        "import sys, detection_core.assignment.fit, detection_core.assignment.report; "
        "heavy = {'torch', 'torchvision', 'PIL', 'onnxruntime'} & set(sys.modules); sys.exit(f'{heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_boxes_are_listed_cell_by_cell_and_within_a_cell_ratio_by_ratio():
    level = levels_of("retinanet_resnet10_fpn", anchor_sizes=((8, 16), (16, 20), (32, 33), (64, 65)), aspect_ratios=((1.0, 4.0),) * 4)[0]
    assert (level.rows, level.columns, level.per_place) == (32, 32, 4)
    boxes = level.boxes()
    assert boxes[:4].tolist() == [[-4, -4, 4, 4], [-8, -8, 8, 8], [-2, -8, 2, 8], [-4, -16, 4, 16]]
    assert (boxes[4] - boxes[0]).tolist() == [8, 0, 8, 0]
    assert (boxes[4 * 32] - boxes[0]).tolist() == [0, 8, 0, 8]


def test_default_boxes_of_given_sizes_stand_around_the_middle_of_a_cell_and_are_not_larger_than_the_input():
    levels = levels_of("ssd_resnet10", anchor_sizes=((16,), (32,), (64,), (128,), (300,)), aspect_ratios=((1,),) * 5)
    assert levels[0].boxes()[0].tolist() == [-4, -4, 12, 12]
    assert levels[4].boxes()[0].tolist() == [-64, -64, 192, 192]


def test_the_anchors_of_yolov3_stand_around_the_middles_of_cells_on_three_scales_and_grow_with_the_input():
    levels = levels_of("yolov3_compact", 832)
    assert [(level.rows, level.per_place, level.cell_width) for level in levels] == [(104, 3, 8.0), (52, 3, 16.0), (26, 3, 32.0)]
    assert levels[0].boxes()[:2].tolist() == [[4 - 10, 4 - 13, 4 + 10, 4 + 13], [4 - 16, 4 - 30, 4 + 16, 4 + 30]]
    given = levels_of("yolov3_compact", anchor_sizes=((8,), (16, 20), (32,)), aspect_ratios=((4,), (1,), (1,)))
    assert [level.per_place for level in given] == [1, 2, 1]
    assert given[0].boxes()[0].tolist() == [2, -4, 6, 12]


def test_an_input_need_not_be_square_nor_a_multiple_of_the_stride():
    rows = [(level.rows, level.columns) for level in layout(DETECTORS["fcos_resnet10_fpn"], height=100, width=260)]
    assert rows == [(13, 33), (7, 17), (4, 9), (2, 5)]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("retinanet_resnet10_fpn", {"anchor_sizes": FOUR[:3]}, "has 4 levels and anchor_sizes has 3; give one list for each level"),
        ("retinanet_resnet10_fpn", {"aspect_ratios": ((1,),) * 5}, "has 4 levels and aspect_ratios has 5"),
        ("retinanet_resnet10_fpn", {"anchor_sizes": ((8,), (), (32,), (64,))}, "has an empty list; give every level at least one number"),
        ("retinanet_resnet10_fpn", {"anchor_sizes": ((8, 9), (16,), (32,), (64,))}, "sizes times ratios are 6, 3, 3, 3"),
        ("fasterrcnn_resnet10_fpn", {"aspect_ratios": ((1,), (1,), (1,), (1, 2))}, "one head for all levels"),
        ("fasterrcnn_resnet10_fpn", {"aspect_ratios": ((0,),) * 4}, "a ratio is height / width, between 0.05 and 20"),
        ("fasterrcnn_resnet10_fpn", {"anchor_sizes": ((5000,),) * 4}, "from 1 to 4096"),
        ("fasterrcnn_resnet10_fpn", {"anchor_sizes": ((2,),) * 4, "aspect_ratios": ((9,),) * 4}, "under 2 px wide or high"),
        ("fasterrcnn_resnet10_fpn", {"anchor_sizes": ((float("nan"),),) * 4}, "finite number"),
        ("retinanet_resnet10_fpn", {"aspect_ratios": (tuple(range(1, 14)),) * 4}, "39 anchors at a place; give at most 36"),
        ("ssd_resnet10", {"anchor_sizes": ((8,),) * 5}, "takes anchor_sizes and aspect_ratios together"),
        ("yolov3_compact", {"aspect_ratios": ((1,),) * 3}, "takes anchor_sizes and aspect_ratios together, in place of its pairs"),
        ("yolov1_compact", {"anchor_sizes": ((8,),)}, "has no anchors; leave out anchor_sizes and aspect_ratios"),
        ("fcos_resnet10_fpn", {"anchor_sizes": FOUR}, "has no anchors; leave out anchor_sizes and aspect_ratios"),
        ("fcos_resnet10_fpn", {"anchor_size": FOUR}, "field 'anchor_size' is not known"),
        ("retinanet_resnet10_fpn", {"anchor_sizes": FOUR, "neck": "single"}, "has 1 level and anchor_sizes has 4; give one list"),
        ("ssd_resnet10", {"anchor_sizes": FOUR, "aspect_ratios": FOUR, "neck": "pan"}, "has 5 levels and anchor_sizes has 4"),
        ("retinanet_resnet10_fpn", {"neck": "bifpn"}, "'single', 'multi', 'fpn' or 'pan'"),
        ("retinanet_resnet50_fpn", {"neck": "pan"}, "takes no option 'neck'; leave it out or use a compact RetinaNet, FCOS or SSD"),
        ("fasterrcnn_resnet10_fpn", {"neck": "fpn"}, "takes no option 'neck'"),
        ("fastestdet", {"neck": "single"}, "takes no option 'neck'"),
    ],
)
def test_anchors_that_cannot_be_are_refused_with_the_option_and_the_remedy(name, options, words):
    with pytest.raises(InvalidInput, match=words):
        levels_of(name, **options)


def test_an_input_too_small_for_the_network_and_an_unknown_family_are_refused():
    with pytest.raises(InvalidInput, match="no cell left at an input of 128x128 px; raise 'input_size'"):
        levels_of("ssd300_vgg16", 128)
    entry = DETECTORS["fcos_resnet10_fpn"]
    stranger = Detector(**{**vars(entry), "name": "stranger", "family": "other"})
    assert not has_layout(stranger)
    with pytest.raises(InvalidInput, match="no assignment is known for stranger"):
        layout(stranger, height=256, width=256)


@pytest.mark.parametrize("name", ["retinanet_resnet10_fpn", "ssd_resnet10", "fcos_resnet10_fpn"])
def test_the_one_level_of_a_single_neck_has_the_boxes_of_all_levels_in_cells_of_16_pixels(name):
    own, (level,) = levels_of(name), levels_of(name, neck="single")
    assert (level.rows, level.columns) == (16, 16)

    def shapes(level):
        return {(float(x2 - x1), float(y2 - y1)) for x1, y1, x2, y2 in np.round(level.boxes()[: level.per_place], 3).tolist()}

    if name == "fcos_resnet10_fpn":
        assert shapes(level) == {(16.0, 16.0)}
    else:
        assert level.per_place == sum(other.per_place for other in own)
        assert {tuple(np.round(shape)) for shape in shapes(level)} == {tuple(np.round(shape)) for one in own for shape in shapes(one)}


def test_given_anchors_come_back_as_lists_that_json_keeps():
    options = AnchorOptions.parse({"anchor_sizes": [[8], [16.5]]})
    assert options.given() == {"anchor_sizes": [[8.0], [16.5]]}
    assert AnchorOptions(neck="pan").given() == {"neck": "pan"} and not AnchorOptions(neck="pan").has_anchors
    assert AnchorOptions().given() == {}
    assert np.isclose(AnchorOptions.parse(options.given()).anchor_sizes[1][0], 16.5)
