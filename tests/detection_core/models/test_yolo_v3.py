"""YOLOv3: which anchor learns an object and which are ignored, what each part of the loss counts, and how numbers become boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detection_core.build import build_adapter, measure
from detection_core.models.yolo.darknet import DARKNET_53, Darknet
from detection_core.nn.assigners import BACKGROUND, IGNORED
from detection_core.schemas.base import InvalidInput
from tests.detection_core.models.small import CLASSES, drawn_batch, no_targets, small

RULES = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}
# Two squares at every cell of the levels of 8 x 8, 4 x 4 and 2 x 2 cells that 64 px give: 128, 32 and 8 places.
SQUARES = {"anchor_sizes": [[8, 9], [16, 20], [32, 40]], "aspect_ratios": [[1]] * 3}
# The first lies where the anchors of the first cell lie; the middle of the second is (40, 36), in the last cell of the coarsest level.
TWO = {"boxes": torch.tensor([[0.0, 0, 8, 8], [24, 20, 56, 52]]), "labels": torch.tensor([1, 0])}
FIRST, NEAR, SECOND = 0, 1, 128 + 32 + 6
LN2 = math.log(2)
EIGHTY = tuple(f"class {number}" for number in range(80))


def squares():
    return build_adapter("yolov3_compact", classes=CLASSES, input_size=64, options=SQUARES)


def loss_of(adapter, told, *targets):
    return adapter.loss(lambda images: told, torch.zeros(len(targets), 3, 64, 64), targets)


def test_the_anchor_of_the_likest_shape_in_the_cell_of_the_middle_learns_and_one_that_overlaps_by_half_is_ignored():
    adapter = squares()
    given = adapter.assign(adapter._anchors, TWO["boxes"])
    assert (given[FIRST].item(), given[SECOND].item()) == (0, 1)
    # 9 x 9 around the same middle: IoU 64 / 81. The square of 40 px beside the second object's overlaps it by a third.
    assert given[NEAR].item() == IGNORED and (given == IGNORED).sum() == 1
    assert (given == BACKGROUND).sum() == 168 - 3


def test_every_part_of_the_loss_of_two_objects_is_what_the_paper_counts():
    adapter, told = squares(), torch.zeros(1, 168, 7)
    told[0, FIRST] = torch.tensor([0, 0, 0.5, -1, 2, 1, -1])
    told[0, NEAR] = 9.0  # ignored: nothing of it counts
    told[0, SECOND] = torch.tensor([1, 0, 0.25, 0, 0, 0, 0])
    parts = {name: value.item() for name, value in loss_of(adapter, told, TWO).parts.items()}
    one = math.log(1 + math.e)  # cross-entropy of the logit 1 against 0, or -1 against 1
    # The middle of the second object lies a quarter of the cell to the right and an eighth down.
    assert parts["centre"] == pytest.approx((2 * LN2 + (one - 0.25) + LN2) / 2)
    assert parts["size"] == pytest.approx((0.5**2 + 1 + 0.25**2) / 2 / 2)
    assert parts["objectness"] == pytest.approx(((168 - 2) * LN2 + math.log(1 + math.exp(-2))) / 2)
    assert parts["classification"] == pytest.approx((2 * one + 2 * LN2) / 2)


@pytest.mark.parametrize(
    ("classification", "objectness"),
    [
        ({"loss": "hard_mining", "negatives_per_positive": 1}, (2 + 2) * LN2 / 2),
        ({"loss": "focal", "alpha": 0.25, "gamma": 2}, (2 * 0.25 + 165 * 0.75) * 0.25 * LN2 / 2),
        # Towards the IoU: 1 for the first, a square of 32 px around the middle of its cell at (48, 48) for the second.
        ({"loss": "quality_focal"}, LN2 / 2 * (0.25 * 166 + (0.5 - 24 * 20 / (2 * 32 * 32 - 24 * 20)) ** 2)),
    ],
)
def test_the_objectness_takes_the_classification_loss_of_a_recipe(classification, objectness):
    options = {**SQUARES, "anchor_sizes": [[8, 9], [16, 20], [32, 41]], "classification": classification}
    adapter = build_adapter("yolov3_compact", classes=CLASSES, input_size=64, options=options)
    assert loss_of(adapter, torch.zeros(1, 168, 7), TWO).parts["objectness"].item() == pytest.approx(objectness, rel=1e-4)
    assert "classification" not in adapter.options


def test_the_gradient_of_the_middle_and_the_size_is_prediction_minus_truth():
    adapter, told = squares(), torch.zeros(1, 168, 7)
    told[0, SECOND, :4] = torch.tensor([1, -1, 0.25, 2])
    told.requires_grad_()
    parts = loss_of(adapter, told, TWO).parts
    (parts["centre"] + parts["size"]).backward()
    wanted = torch.tensor([0.25, 0.125, 0, 0])
    prediction = torch.tensor([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)), 0.25, 2])
    torch.testing.assert_close(2 * told.grad[0, SECOND, :4], prediction - wanted)  # two objects


def test_the_balance_leaves_ignored_anchors_out():
    loss = loss_of(squares(), torch.zeros(1, 168, 7), TWO)
    assert (loss.balance.positives.tolist(), loss.balance.negatives.tolist()) == ([1, 0, 1], [126, 32, 7])
    assert loss.balance.negative_loss.tolist() == pytest.approx([126 * LN2, 32 * LN2, 7 * LN2])


def test_an_anchor_that_two_objects_want_learns_the_smaller_one():
    adapter = squares()
    large, little = [0.0, 0, 8, 8.4], [0.5, 0.5, 7.5, 7.5]
    for order in ([large, little], [little, large]):
        given = adapter.assign(adapter._anchors, torch.tensor(order))
        assert (given >= 0).sum() == 1 and order[given[FIRST]] == little


@pytest.mark.parametrize("box", [[62.0, 20, 64, 30], [64.0, 64, 64, 64], [56.0, 56, 64, 64], [0.0, 0, 64, 64]])
def test_an_object_at_the_right_border_has_an_anchor_and_a_finite_loss(box):
    adapter = squares()
    assert (adapter.assign(adapter._anchors, torch.tensor([box])) >= 0).sum() == 1
    assert torch.isfinite(loss_of(adapter, torch.zeros(1, 168, 7), {"boxes": torch.tensor([box]), "labels": torch.tensor([0])}).total)


def test_an_image_without_objects_teaches_the_objectness_of_all_places_alone():
    parts = {name: value.item() for name, value in loss_of(squares(), torch.zeros(1, 168, 7), *no_targets(1)).parts.items()}
    assert parts == pytest.approx({"centre": 0, "size": 0, "objectness": 168 * LN2, "classification": 0})


def test_a_place_becomes_the_box_and_score_that_the_docstring_says():
    adapter, told = squares(), torch.full((1, 168, 7), -20.0)
    # Column 3, row 1 of the level of 16 px; its second anchor, 20 px.
    told[0, 128 + (1 * 4 + 3) * 2 + 1] = torch.tensor([0, math.log(3), math.log(0.5), math.log(2), math.log(4), -20, math.log(9)])
    (found,) = adapter.postprocess((told,), **RULES)
    assert (found.scores.tolist(), found.labels.tolist()) == (pytest.approx([0.8 * 0.9]), [1])
    torch.testing.assert_close(found.boxes, torch.tensor([[56.0 - 5, 28 - 20, 56 + 5, 28 + 20]]))


def test_numbers_beyond_all_sizes_stay_within_the_input():
    told = torch.full((1, 168, 7), 200.0)
    (found,) = squares().postprocess((told,), **RULES)
    assert torch.isfinite(found.boxes).all() and found.boxes.max() == 64


def test_what_is_encoded_is_decoded_to_the_same_box():
    adapter = build_adapter("yolov3_compact", classes=CLASSES)
    boxes = drawn_batch()[1][1]["boxes"]
    given = adapter.assign(adapter._anchors, boxes)
    places = (given >= 0).nonzero().flatten()
    told = adapter._encode(boxes[given[places]], places)
    told[:, :2] = told[:, :2].logit()
    torch.testing.assert_close(adapter._decode(told, places), boxes[given[places]])


def test_the_papers_anchors_are_those_of_416_px_and_grow_with_the_input():
    for side in (416, 832):
        adapter = build_adapter("yolov3", classes=CLASSES, input_size=side)
        sides = (adapter._anchors[:, 2:] - adapter._anchors[:, :2]) / (side / 416)
        finest, coarsest = sides[:3], sides[-3:]
        torch.testing.assert_close(finest, torch.tensor([[10.0, 13], [16, 30], [33, 23]]))
        torch.testing.assert_close(coarsest, torch.tensor([[116.0, 90], [156, 198], [373, 326]]))


def test_every_place_starts_as_background():
    adapter, model = small("yolov3_compact")
    with torch.no_grad():
        told = adapter.forward(model.eval(), drawn_batch()[0])[0]
    assert told[..., 4].sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)


def test_gradients_reach_every_parameter():
    adapter, model = small("yolov3_compact")
    adapter.loss(model.train(), *drawn_batch()).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


# Billions of operations, two to a multiply-accumulate, by side of the input (pjreddie.com/darknet/yolo).
PUBLISHED_OPERATIONS = {320: 38.97, 416: 65.86, 608: 140.69}


@pytest.mark.parametrize("side", PUBLISHED_OPERATIONS)
def test_the_published_size_has_the_parameters_and_operations_that_are_published(side):
    params_m, macs_g = measure(build_adapter("yolov3", classes=EIGHTY, input_size=side))
    # The paper tells no number; OpenVINO's Open Model Zoo does (yolo-v3-tf), of a graph whose norms are folded into the convolutions.
    assert params_m == pytest.approx(61.922, rel=0.01)
    assert 2 * macs_g == pytest.approx(PUBLISHED_OPERATIONS[side], rel=0.01)


def test_darknet_53_has_the_layers_of_table_1_and_the_operations_of_table_2():
    with torch.device("meta"):
        # The 53rd layer of the table is the classifier of ImageNet's 1000 classes.
        trunk, classifier = Darknet(*DARKNET_53).eval(), torch.nn.Linear(1024, 1000)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            fine, middle, coarse = trunk(torch.zeros(1, 3, 256, 256))
            classifier(coarse.mean(dim=(2, 3)))
    assert sum(isinstance(module, torch.nn.Conv2d) for module in trunk.modules()) == 52
    assert (fine.shape[1:], middle.shape[1:], coarse.shape[1:]) == ((256, 32, 32), (512, 16, 16), (1024, 8, 8))
    assert counter.get_total_flops() / 1e9 == pytest.approx(18.7, rel=0.01)


def test_every_cell_of_three_scales_tells_three_boxes_of_85_numbers():
    adapter = build_adapter("yolov3", classes=EIGHTY)
    with torch.device("meta"):
        told = adapter.forward(adapter.build().eval(), torch.zeros(2, 3, 416, 416))[0]
    assert told.shape == (2, 3 * (52**2 + 26**2 + 13**2), 85)


def test_an_input_that_does_not_fall_into_cells_and_half_given_anchors_are_refused():
    with pytest.raises(InvalidInput, match="multiples of 32 px; change 'input_size'"):
        build_adapter("yolov3", classes=CLASSES, input_size=400)
    with pytest.raises(InvalidInput, match="together, in place of its pairs of width and height"):
        build_adapter("yolov3", classes=CLASSES, options={"anchor_sizes": [[8], [16], [32]]})
