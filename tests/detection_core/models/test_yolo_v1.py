"""YOLOv1: which cell and which of its boxes learn an object, what each part of the loss counts, and how numbers become boxes."""

from __future__ import annotations

import pytest
import torch

from detection_core.build import build_adapter, measure
from detection_core.schemas.base import InvalidInput
from tests.detection_core.models.small import CLASSES, drawn_batch, no_targets, small

RULES = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}
# At 64 px: two cells a side.
TWO = {
    "boxes": torch.tensor([[4.0, 4, 28, 28], [40, 36, 56, 60]]),
    "labels": torch.tensor([0, 1]),
}


def four_cells():
    """An adapter of a 64 px input, and what a network tells of its four cells: numbers that can be followed by hand."""
    adapter = build_adapter("yolov1_compact", classes=CLASSES, input_size=64)
    told = torch.zeros(1, 4, 12)
    # The first object lies in cell 0: its first box is 16 px wide around the same middle, the second has no extent.
    told[0, 0] = torch.tensor([*(0.5, 0.5, 0.5, 0.5, 0.2), *(0.5, 0.5, 0.0, 0.0, 0.3), *(0.5, 0.2)])
    told[0, 1] = torch.tensor([*(0.5, 0.5, 0.5, 0.5, 0.4), *[0.0] * 5, *(9.0, 9.0)])
    # The second lies in cell 3: its first box is tiny, the second is 16 x 36 px around (40, 48).
    told[0, 3] = torch.tensor([*(0.5, 0.5, 0.1, 0.1, 0.1), *(0.25, 0.5, 0.5, 0.75, 0.6), *(0.0, 0.0)])
    return adapter, told


def loss_of(adapter, told, *targets):
    return adapter.loss(lambda images: told, torch.zeros(len(targets), 3, 64, 64), targets)


def test_the_cell_that_holds_the_middle_learns_the_object_by_the_box_that_overlaps_it_most_now():
    adapter, told = four_cells()
    assert adapter.assign(TWO["boxes"]).tolist() == [0, -1, -1, 1]
    told.requires_grad_()
    parts = loss_of(adapter, told, TWO).parts
    (parts["centre"] + parts["size"]).backward()
    moved = told.grad[0].unflatten(0, (2, 2))  # rows, columns
    assert moved[0, 0, 2:4].abs().min() > 0 and not moved[0, 0, 5:].any()  # the first box of cell 0
    assert moved[1, 1, 5:9].abs().max() > 0 and not moved[1, 1, :5].any()  # the second box of cell 3
    assert not moved[0, 1].any() and not moved[1, 0].any()


def test_every_part_of_the_loss_of_two_objects_is_what_the_paper_counts():
    adapter, told = four_cells()
    parts = {name: value.item() for name, value in loss_of(adapter, told, TWO).parts.items()}
    root = (24 / 64) ** 0.5
    assert parts["centre"] == pytest.approx(5 * (0.25 - 0.5) ** 2)
    assert parts["size"] == pytest.approx(5 * (2 * (0.5 - root) ** 2 + (0.75 - root) ** 2))
    # The IoU of the responsible boxes: 16 x 16 in 24 x 24, and 8 x 24 shared by 16 x 36 and 16 x 24.
    assert parts["confidence"] == pytest.approx((0.2 - 256 / 576) ** 2 + (0.6 - 192 / 768) ** 2 + 0.5 * (0.3**2 + 0.4**2 + 0.1**2))
    assert parts["classification"] == pytest.approx((0.5 - 1) ** 2 + 0.2**2 + 1)


def test_the_weights_of_boxes_and_background_are_options_and_the_sums_are_those_of_an_image():
    adapter, told = four_cells()
    plain = loss_of(adapter, told, TWO).parts
    other = build_adapter("yolov1_compact", classes=CLASSES, input_size=64, options={"lambda_coord": 10.0, "lambda_noobj": 1.0})
    turned = loss_of(other, told, TWO).parts
    torch.testing.assert_close(turned["centre"], 2 * plain["centre"])
    torch.testing.assert_close(turned["confidence"], plain["confidence"] + 0.5 * (0.3**2 + 0.4**2 + 0.1**2))
    twice = loss_of(adapter, told.expand(2, -1, -1), TWO, TWO).parts
    assert {name: value.item() for name, value in twice.items()} == pytest.approx({name: value.item() for name, value in plain.items()})
    assert other.options == adapter.options == {"variant": "v1_compact"}


def test_the_balance_tells_what_background_brings_to_the_confidence():
    adapter, told = four_cells()
    loss = loss_of(adapter, told, TWO)
    assert (loss.balance.positives.tolist(), loss.balance.negatives.tolist()) == ([2], [6])
    assert loss.balance.negative_loss.item() == pytest.approx(0.5 * (0.3**2 + 0.4**2 + 0.1**2))
    assert (loss.balance.positive_loss + loss.balance.negative_loss).item() == pytest.approx(loss.parts["confidence"].item())


def test_of_two_objects_in_one_cell_only_the_smaller_one_is_learnt():
    adapter, told = four_cells()
    large, little = torch.tensor([[2.0, 2, 28, 28]]), torch.tensor([[10.0, 10, 18, 18]])
    for boxes in (torch.cat([large, little]), torch.cat([little, large])):
        given = adapter.assign(boxes)
        assert given[1:].tolist() == [-1, -1, -1] and torch.equal(boxes[given[0]], little[0])
    alone = loss_of(adapter, told, {"boxes": little, "labels": torch.tensor([1])})
    both = loss_of(adapter, told, {"boxes": torch.cat([large, little]), "labels": torch.tensor([0, 1])})
    assert both.total.item() == pytest.approx(alone.total.item())


@pytest.mark.parametrize("box", [[62.0, 20, 64, 30], [64.0, 64, 64, 64], [63.0, 63, 64, 64], [0.0, 0, 64, 64]])
def test_an_object_at_the_right_border_has_a_cell_and_a_finite_loss(box):
    adapter, told = four_cells()
    given = adapter.assign(torch.tensor([box]))
    cell = 1 + 2 * (box[1] + box[3] >= 64)
    assert (given >= 0).nonzero().flatten().tolist() == [cell]
    assert torch.isfinite(loss_of(adapter, told, {"boxes": torch.tensor([box]), "labels": torch.tensor([0])}).total)


def test_an_image_without_objects_teaches_the_confidence_alone():
    adapter, told = four_cells()
    parts = {name: value.item() for name, value in loss_of(adapter, told, *no_targets(1)).parts.items()}
    assert parts["confidence"] == pytest.approx(0.5 * (0.2**2 + 0.3**2 + 0.4**2 + 0.1**2 + 0.6**2))
    assert parts["centre"] == parts["size"] == parts["classification"] == 0


def test_a_cell_becomes_the_boxes_and_scores_that_the_docstring_says():
    adapter = build_adapter("yolov1_compact", classes=CLASSES, input_size=64)
    told = torch.zeros(1, 4, 12)
    # Cell 1 is the upper right one. A negative root is a size too; numbers beyond 0..1 are drawn into it.
    told[0, 1] = torch.tensor([*(0.5, 0.25, 0.5, -0.25, 0.8), *(0.5, 0.5, 0.5, 0.5, -3.0), *(0.5, 1.5)])
    (found,) = adapter.postprocess((told,), **RULES)
    assert found.scores.tolist() == pytest.approx([0.8, 0.4])
    assert found.labels.tolist() == [1, 0]
    torch.testing.assert_close(found.boxes, torch.tensor([[48.0 - 8, 8 - 2, 48 + 8, 8 + 2]]).expand(2, 4))


def test_what_is_encoded_is_decoded_to_the_same_box():
    adapter = build_adapter("yolov1_compact", classes=CLASSES)
    boxes = drawn_batch()[1][1]["boxes"]
    cell = torch.tensor([2, 10, 44])
    told = torch.cat([adapter._encode(boxes, cell), torch.zeros(3, 1)], dim=1)
    torch.testing.assert_close(adapter._decode(told[:, None], cell)[:, 0], boxes)


def test_no_size_is_negative_and_the_boxes_of_a_cell_differ_from_the_first_step():
    adapter, model = small("yolov1_compact")
    with torch.no_grad():
        told = adapter.forward(model.train(), torch.randn(2, 3, 128, 128))[0]
        boxes = adapter._decode(told[0, :, :10].unflatten(1, (2, 5)), torch.arange(16))
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    assert (told[..., 7] - told[..., 2]).min() > 0.2


def test_gradients_reach_every_parameter():
    adapter, model = small("yolov1_compact")
    adapter.loss(model.train(), *drawn_batch()).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_published_size_has_the_24_convolutions_and_two_connected_layers_of_the_paper():
    adapter = build_adapter("yolov1", classes=tuple(f"class {number}" for number in range(20)))
    with torch.device("meta"):
        model = adapter.build()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    connected = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert len(layers) == 24 and not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert [(layer.in_features, layer.out_features) for layer in connected] == [(7 * 7 * 1024, 4096), (4096, 7 * 7 * 30)]
    params_m, macs_g = measure(adapter)
    # No number is published; it follows from figure 3, weights and biases counted by hand: the convolutions, then each connected layer.
    assert params_m == pytest.approx((60_155_968 + 205_524_992 + 6_022_590) / 1e6, abs=1e-6)
    # 40.19 billion operations, two to a multiply-accumulate (pjreddie.com/darknet/yolov2, "Old YOLO").
    assert 2 * macs_g == pytest.approx(40.19, rel=0.01)
    with torch.device("meta"):
        assert adapter.forward(model.eval(), torch.zeros(2, 3, 448, 448))[0].shape == (2, 49, 30)


def test_the_compact_size_has_nine_convolutions_as_fast_yolo():
    with torch.device("meta"):
        model = build_adapter("yolov1_compact", classes=CLASSES).build()
    assert sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) == 9


def test_an_input_that_does_not_fall_into_cells_and_anchors_are_refused():
    with pytest.raises(InvalidInput, match="multiples of 64 px; change 'input_size'"):
        build_adapter("yolov1", classes=CLASSES, input_size=416)
    with pytest.raises(InvalidInput, match="has no option anchor_sizes; it has lambda_coord, lambda_noobj, variant"):
        build_adapter("yolov1_compact", classes=CLASSES, options={"anchor_sizes": [[8]]})
