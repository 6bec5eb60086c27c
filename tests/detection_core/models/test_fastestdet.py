"""FastestDet: which cells learn which object, what its loss counts, and how its numbers become boxes."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou

from detection_core.build import build_adapter
from detection_core.models import fastestdet
from detection_core.models.fastestdet import OBJECTNESS_WEIGHT, assign, from_upstream, objectness_loss
from detection_core.nn.classification import SETTINGS
from detection_core.nn.losses import prior_bias
from detection_core.schemas.base import InvalidInput
from tests.detection_core.models.small import CLASSES, SIDE, drawn_batch, no_targets, small

RULES = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}


def cells(*, size=(4, 4), stride=16, side=16.0):
    """What a network finds that tells a square around the corner of every cell: [h, w, 4]."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    corner = torch.stack([columns, rows, columns, rows], dim=-1) * float(stride)
    return corner + torch.tensor([-side, -side, side, side]) / 2


def told(loss):
    torch.manual_seed(0)
    adapter = build_adapter("fastestdet", classes=CLASSES, input_size=SIDE, options={"classification": {"loss": loss}})
    return adapter, adapter.build()


def test_the_four_cells_around_a_centre_share_an_object_that_they_find_equally_well():
    found, objects = assign(cells(), torch.tensor([[16.0, 32, 32, 48]]), stride=16)
    # Its centre (24, 40) lies in the middle between the corners of columns 1 and 2, rows 2 and 3.
    assert sorted(found.tolist()) == [2 * 4 + 1, 2 * 4 + 2, 3 * 4 + 1, 3 * 4 + 2]
    assert objects.tolist() == [0] * 4


def test_of_the_four_only_those_learn_that_find_it_at_least_as_well_as_they_do_on_average():
    found, _ = assign(cells(), torch.tensor([[9.0, 9, 25, 25]]), stride=16)
    # The centre (17, 17) is nearly the corner of cell (1, 1).
    assert found.tolist() == [1 * 4 + 1]


def test_an_object_that_nothing_finds_yet_keeps_all_its_cells_and_one_at_the_border_those_there_are():
    blind = torch.zeros(4, 4, 4)
    found, _ = assign(blind, torch.tensor([[50.0, 50, 64, 64]]), stride=16)
    assert found.tolist() == [3 * 4 + 3]
    found, _ = assign(blind, torch.tensor([[16.0, 16, 32, 32]]), stride=16)
    assert sorted(found.tolist()) == [5, 6, 9, 10]


def test_a_cell_that_two_objects_want_goes_to_the_smaller_one():
    large, little = [8.0, 8, 40, 40], [20.0, 20, 28, 28]
    for order in ((large, little), (little, large)):
        found, objects = assign(torch.zeros(4, 4, 4), torch.tensor(order), stride=16)
        assert sorted(found.tolist()) == [5, 6, 9, 10]
        assert {order[index] == little for index in objects.tolist()} == {True}


def test_no_object_takes_no_cell():
    found, objects = assign(cells(), torch.zeros(0, 4), stride=16)
    assert (found.shape, objects.shape, objects.dtype) == ((0,), (0,), torch.int64)


def test_positives_count_a_quarter_of_the_objectness_however_many_they_are():
    objectness = torch.zeros(1, 100)
    for positives in (1, 4):
        where = torch.arange(positives)
        value = objectness_loss(objectness, torch.zeros_like(where), where, torch.ones(positives)).mean()
        # Each positive is wrong by 1, which smooth L1 counts as a half; the background is right.
        assert value.item() == pytest.approx(0.25 * 0.5)
    nothing = torch.zeros(0, dtype=torch.int64)
    assert objectness_loss(torch.ones(2, 100), nothing, nothing, torch.zeros(0)).mean().item() == pytest.approx(0.75 * 0.5)


def test_an_image_without_objects_has_a_loss_of_objectness_alone():
    adapter, model = small("fastestdet")
    parts = adapter.loss(model.train(), drawn_batch()[0], no_targets(2)).parts
    assert set(parts) == {"box", "objectness", "class"}
    assert parts["box"].item() == parts["class"].item() == 0
    assert 0 < parts["objectness"].item() < OBJECTNESS_WEIGHT


def test_its_objectness_is_what_objects_and_background_share_on_its_one_level():
    adapter, model = small("fastestdet")
    images, targets = drawn_batch()
    found = adapter.loss(model.train(), images, targets)
    balance, cells = found.balance, len(images) * (SIDE // 16) ** 2
    assert balance.positives.shape == (1,) and len(targets) < balance.positives.item() <= 4 * 5
    assert (balance.positives + balance.negatives).item() == cells
    assert balance.positive_loss.item() > 0 and balance.negative_loss.item() > 0
    total = (balance.positive_loss + balance.negative_loss).item() / cells
    assert found.parts["objectness"].item() == pytest.approx(OBJECTNESS_WEIGHT * total, rel=1e-5)
    alone = adapter.loss(model, images, no_targets(2)).balance
    assert (alone.positives.item(), alone.positive_loss.item()) == (0, 0)


@pytest.mark.parametrize("loss", sorted(SETTINGS))
def test_its_objectness_takes_every_classification_loss_of_a_recipe(loss):
    adapter, model = told(loss)
    images, targets = drawn_batch()
    found = adapter.loss(model.train(), images, targets)
    found.total.backward()
    gradients = [parameter.grad for parameter in model.head.objectness.parameters()]
    assert all(torch.isfinite(one).all() for one in gradients) and any(one.abs().max() > 0 for one in gradients)
    balance = found.balance
    total = (balance.positive_loss + balance.negative_loss) / balance.positives
    assert found.parts["objectness"].item() == pytest.approx(total.item(), rel=1e-5)
    assert balance.positive_loss.item() > 0 and balance.negative_loss.item() > 0
    alone = adapter.loss(model, images, no_targets(2)).parts["objectness"].item()
    assert (alone > 0) is (loss != "hard_mining")


@pytest.mark.parametrize("loss", ["focal", "quality_focal", "varifocal"])
def test_a_quality_loss_aims_its_objectness_at_the_iou_of_the_cells_own_box_the_others_at_one(loss, monkeypatch):
    adapter, model = told(loss)
    images, targets = drawn_batch()
    seen = {}

    def spy(settings, logits, wanted, given):
        seen.update(logits=logits, wanted=wanted, given=given)
        return logits * 0

    monkeypatch.setattr(fastestdet, "classification_loss", spy)
    adapter.loss(model.eval(), images, targets)
    with torch.no_grad():
        logits, boxes, _ = model(images)
    decoded = adapter._decode(boxes).flatten(1, 2)
    assert torch.equal(seen["logits"][..., 0], logits.flatten(1)) and not seen["wanted"].requires_grad
    for image, target in enumerate(targets):
        for cell, given in enumerate(seen["given"][image].tolist()):
            overlap = box_iou(decoded[image, cell][None], target["boxes"][given][None]).item() if given >= 0 else 0.0
            expected = float(given >= 0) if loss == "focal" else overlap
            assert seen["wanted"][image, cell].item() == pytest.approx(expected, abs=1e-5)
    assert seen["wanted"].max() > 0


def test_a_chosen_loss_starts_its_objectness_low_and_is_not_needed_to_read_the_file():
    own, plain = small("fastestdet")
    adapter, model = told("focal")
    assert adapter.options == own.options == {}
    assert torch.allclose(model.head.objectness[-1].bias, torch.tensor(prior_bias()))
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, plain.state_dict()[name])] == [
        "head.objectness.4.bias"
    ]


def test_a_neck_is_refused_since_it_has_but_one_grid():
    with pytest.raises(InvalidInput, match="fastestdet has no option neck; it has classification"):
        build_adapter("fastestdet", classes=CLASSES, options={"neck": "fpn"})


def test_a_cell_becomes_the_box_and_score_that_the_docstring_says():
    adapter, _ = small("fastestdet")
    raw = torch.zeros(1, 5 + len(CLASSES), SIDE // 16, SIDE // 16)
    raw[0, :, 2, 5] = torch.tensor([0.5, torch.tensor(0.5).arctanh(), 0.0, 0.0, -100.0, 0.0, 0.9])
    raw[0, 4, 2, 5] = torch.tensor(0.25 / 0.75).log()
    (found,) = adapter.postprocess((raw,), **RULES)
    torch.testing.assert_close(found.boxes, torch.tensor([[88.0 - 32, 32 - 16, 88 + 32, 32 + 16]]))
    assert found.scores.item() == pytest.approx(0.5**0.6 * 0.9**0.4)
    assert found.labels.tolist() == [1]


def test_classes_and_objectness_of_the_raw_output_are_probabilities():
    adapter, model = small("fastestdet")
    with torch.no_grad():
        (raw,) = adapter.forward(model.eval(), torch.randn(2, 3, SIDE, SIDE))
    assert raw[:, 0].min() >= 0 and raw[:, 0].max() <= 1
    torch.testing.assert_close(raw[:, 5:].sum(dim=1), torch.ones(2, SIDE // 16, SIDE // 16))


def test_the_input_is_blue_first_and_stretched_as_the_published_weights_expect():
    policy = build_adapter("fastestdet", classes=CLASSES).input
    assert (policy.height, policy.resize, policy.channel_order) == (352, "stretch", "bgr")
    assert (policy.mean, policy.std) == ((0, 0, 0), (1, 1, 1))


def test_an_input_that_does_not_fall_into_cells_is_refused():
    with pytest.raises(InvalidInput, match="multiples of 32 px"):
        build_adapter("fastestdet", classes=CLASSES, input_size=336)


def test_names_that_are_not_the_projects_stay():
    one = torch.zeros(1)
    assert list(from_upstream({"backbone.stage2.0.x": one, "head.box.0.weight": one})) == ["backbone.stages.0.0.x", "head.box.0.weight"]
