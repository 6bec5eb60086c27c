"""What holds for every family: it learns, its labels mean the classes, its outputs have a fixed form."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torchvision.ops import box_iou

from detection_core.build import build_adapter
from detection_core.models.adapter import at_size
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy
from tests.detection_core.models.small import CLASSES, FAMILIES, SIDE, drawn_batch, no_targets, perturbed, small

# Depthwise layers, and norms behind the last ones, start slowly; a step of FastestDet is a third as long.
STEPS = {"fastestdet": 150}
RULES = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finds_everything(adapter, model, images, targets) -> bool:
    """Whether the best detections of each image are its objects, with their classes."""
    with torch.no_grad():
        found = adapter.postprocess(adapter.forward(model.eval(), images), **RULES)
    for detections, target in zip(found, targets, strict=True):
        boxes, labels = detections.boxes[: len(target["labels"])], detections.labels[: len(target["labels"])]
        if len(labels) < len(target["labels"]):
            return False
        overlap, match = box_iou(target["boxes"], boxes).max(dim=1)
        if overlap.min() < 0.5 or labels[match].tolist() != target["labels"].tolist():
            return False
    return True


@pytest.mark.parametrize("name", FAMILIES)
def test_two_images_are_learnt_so_that_every_object_is_found_with_its_class_in_eval_mode(name):
    adapter, model = small(name)
    images, targets = drawn_batch()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # running statistics must keep up with a training of this few steps
    optimizer = torch.optim.AdamW(adapter.param_groups(model, 2e-3, 0.01))
    assert not finds_everything(adapter, model, images, targets)
    steps = STEPS.get(name, 60)
    for step in range(steps):
        torch.manual_seed(step)
        total = adapter.loss(model.train(), images, targets).total
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % 10 == 9 and finds_everything(adapter, model, images, targets):
            return
    pytest.fail(f"not learnt in {steps} steps")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_without_any_object_is_finite_and_can_be_differentiated(name):
    adapter, model = small(name)
    total = adapter.loss(model.train(), drawn_batch()[0], no_targets(2)).total
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_class_can_be_a_target(name):
    adapter, model = small(name, classes=("only",))
    targets = [{"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([0])}] * 2
    assert torch.isfinite(adapter.loss(model.train(), drawn_batch()[0], targets).total)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_gives_the_same_alone_and_in_a_batch(name):
    adapter, model = perturbed(name)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        together = adapter.postprocess(adapter.forward(model, images), **RULES)
        alone = [adapter.postprocess(adapter.forward(model, image[None]), **RULES)[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert len(one.scores) > 5 and one.scores.max() - one.scores.min() > 0.01
        # Batches of another size are computed in another order, which can swap near-equal scores.
        torch.testing.assert_close(one.scores, other.scores, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_detections_are_ranked_inside_the_input_and_labelled_from_zero(name):
    adapter, model = perturbed(name)
    with torch.no_grad():
        found = adapter.postprocess(adapter.forward(model, torch.randn(1, 3, SIDE, SIDE)), **RULES)[0]
    assert 0 < len(found.scores) <= RULES["max_det"]
    assert (found.scores.diff() <= 0).all() and found.scores.max() <= 1
    assert found.boxes.min() >= 0 and found.boxes.max() <= SIDE
    assert set(found.labels.tolist()) == set(range(len(CLASSES)))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_exported_part_answers_like_forward_and_can_be_traced(name):
    adapter, model = perturbed(name)
    module = adapter.export_module(model)
    first, second = torch.randn(1, 3, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        traced = torch.jit.trace(module, first, check_trace=False)
        expected, got = adapter.forward(model, second), traced(second)
    assert len(expected) == len(got) == len(adapter.output_names)
    for want, have in zip(expected, got, strict=True):
        torch.testing.assert_close(have, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_norms_and_biases_do_not_decay_and_no_parameter_is_left_out(name):
    adapter, model = small(name)
    decaying, plain = adapter.param_groups(model, 1e-3, 0.05)
    assert (decaying["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    norms_and_biases = {id(parameter) for key, parameter in model.named_parameters() if key.endswith("bias") or parameter.ndim == 1}
    assert {id(parameter) for parameter in plain["params"]} == norms_and_biases
    assert len(decaying["params"]) + len(plain["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", FAMILIES)
def test_anchors_first_asked_for_while_detecting_still_serve_training(name):
    adapter, model = small(name)
    with torch.inference_mode():
        adapter.postprocess(adapter.forward(copy.deepcopy(model).eval(), torch.zeros(1, 3, SIDE, SIDE)), **RULES)
    adapter.loss(model.train(), *drawn_batch()).total.backward()


def test_two_stages_draw_the_same_samples_under_the_same_seed():
    adapter, model = small("fasterrcnn_resnet10_fpn")
    model.train()
    losses = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        losses.append(adapter.loss(model, *drawn_batch()).total.item())
    assert losses[0] == losses[1] != losses[2]


def test_ssd300_refuses_an_input_that_its_last_layer_cannot_take():
    with pytest.raises(InvalidInput, match="at least 300 px"):
        build_adapter("ssd300_vgg16", classes=CLASSES, input_size=256)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("fcos_resnet50_fpn", {"head_convs": 4}),
        ("retinanet_resnet50_fpn", {"head_convs": 4}),
        ("fasterrcnn_resnet50_fpn", {"proposals": 100}),
        ("fcos_resnet50_fpn", {"neck": "fpn"}),
        ("retinanet_resnet50_fpn_v2", {"neck": "pan"}),
        ("ssdlite320_mobilenet_v3_large", {"neck": "multi"}),
    ],
)
def test_a_published_size_refuses_options_of_the_compact_ones(name, option):
    with pytest.raises(InvalidInput, match=f"no option '{next(iter(option))}'; leave it out or use a compact variant"):
        build_adapter(name, classes=CLASSES, options=option)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_is_read_at_another_size_as_if_it_had_been_built_for_it(name):
    adapter, model = small(name)
    larger, images = at_size(adapter, 160, 160), torch.nn.functional.pad(drawn_batch()[0], (0, 32, 0, 32))
    fresh = build_adapter(name, classes=CLASSES, input_size=160)
    losses = []
    for one in (larger, fresh):
        torch.manual_seed(1)  # two stages draw samples
        losses.append(one.loss(copy.deepcopy(model).train(), images, drawn_batch()[1]).total.item())
    assert losses[0] == losses[1] and larger.input == fresh.input
    assert at_size(adapter, SIDE, SIDE) is adapter


def test_a_network_that_depends_on_the_size_of_its_input_is_refused_another():
    @dataclass(frozen=True)
    class Grid:
        name: str
        input: InputPolicy

        def build(self):
            return torch.nn.Linear(self.input.height, 1)

    with pytest.raises(InvalidInput, match=r"the network of grid depends on the size of its input, .*; set 'multi_scale' to 0"):
        at_size(Grid("grid", InputPolicy(height=64, width=64)), 96, 96)


@pytest.mark.parametrize("name", FAMILIES)
def test_under_autocast_the_network_runs_in_bf16_and_its_loss_is_made_in_fp32(name):
    adapter, model = small(name)
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(adapter.loss(copy.deepcopy(model).train(), *drawn_batch()).parts)
    plain, mixed = found
    assert {part.dtype for part in mixed.values()} == {torch.float32}
    assert any(mixed[part] != plain[part] for part in plain), "something ran in bf16"
    for part, value in plain.items():
        assert mixed[part].item() == pytest.approx(value.item(), rel=0.1), part
