"""YOLOv8 and YOLOv10: what their raw outputs mean, what they are trained on, and that they learn."""

from __future__ import annotations

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from detection_core.build import build_adapter, load_checkpoint, make_manifest, measure, save_checkpoint
from detection_core.catalogue.specs import Neck
from detection_core.models.yolo.blocks import LargeKernel
from detection_core.models.yolo.heads import BINS, Raw, grid_of
from detection_core.nn.assigners import task_aligned
from detection_core.nn.classification import LossName
from detection_core.nn.losses import prior_bias
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy
from tests.detection_core.models.small import CLASSES, SIDE, drawn_batch, no_targets, small

NAMES = ("yolov8n", "yolov10n")
RULES = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}
PLACES = 16 * 16 + 8 * 8 + 4 * 4  # of an input of SIDE pixels


def raw_of(certain, *, side: int = 64, classes: int = 2) -> Raw:
    """Raw outputs of one image in which nothing is seen but at the places given: place -> (class, score, four distances in strides)."""
    places = sum((side // stride) ** 2 for stride in (8, 16, 32))
    boxes, logits = torch.zeros(1, places, 4, BINS), torch.full((1, places, classes), -20.0)
    for place, (label, score, distances) in certain.items():
        logits[0, place, label] = np.log(score / (1 - score))
        for edge, distance in enumerate(distances):
            boxes[0, place, edge, distance] = 50.0  # after the softmax all of the distribution
    return Raw(boxes.flatten(2), logits)


def trained_a_little(name: str):
    """A network whose norms have seen images, so that eval mode is not the start any more."""
    adapter, model = small(name)
    with torch.no_grad():
        for _ in range(3):
            adapter.loss(model.train(), torch.randn(2, 3, SIDE, SIDE), no_targets(2))
    return adapter, model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_every_place_of_the_three_levels_has_distributions_and_a_score_of_each_class(name):
    adapter, model = small(name)
    with torch.no_grad():
        distributions, logits = adapter.forward(model.eval(), torch.randn(2, 3, SIDE, SIDE))
    assert adapter.output_names == ("box_distributions", "cls_logits")
    assert distributions.shape == (2, PLACES, 4 * BINS) and logits.shape == (2, PLACES, len(CLASSES))
    assert distributions.dtype == logits.dtype == torch.float32
    # Before any training every place has about the score of the prior.
    assert logits.mean().item() == pytest.approx(prior_bias(), abs=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_box_is_told_by_its_distances_in_strides_from_the_middle_of_its_cell(name):
    adapter = build_adapter(name, classes=CLASSES, input_size=64)
    # Row 1, column 2 of stride 16, behind the 64 places of stride 8: its middle is (40, 24).
    found = adapter.postprocess(raw_of({64 + 4 + 2: (1, 0.75, (1, 0, 1, 2))}), **RULES)[0]
    assert found.boxes.tolist() == [pytest.approx([24, 24, 56, 56], abs=1e-3)]
    assert (found.labels.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.75)])


def test_a_side_is_the_mean_of_its_distribution():
    grid = grid_of(InputPolicy(height=64, width=64))
    distributions = torch.full((1, len(grid.centres), 4, BINS), -50.0)
    distributions[..., [2, 5]] = 0.0  # half at 2, half at 5
    box = grid.decode(distributions.flatten(2))[0, 0]
    assert box.tolist() == pytest.approx([4 - 28, 4 - 28, 4 + 28, 4 + 28])


def test_of_two_overlapping_detections_of_one_class_v8_keeps_one_and_v10_both():
    raw = raw_of({70: (0, 0.9, (1, 1, 1, 1)), 71: (0, 0.6, (2, 1, 0, 1))})
    kept = {name: build_adapter(name, classes=CLASSES, input_size=64).postprocess(raw, **RULES)[0] for name in NAMES}
    boxes = kept["yolov10n"].boxes
    assert box_iou(boxes, boxes).min() > RULES["nms_thresh"]
    assert kept["yolov10n"].scores.tolist() == pytest.approx([0.9, 0.6])
    assert kept["yolov8n"].scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("name", NAMES)
def test_an_input_that_cells_do_not_fill_is_refused(name):
    with pytest.raises(InvalidInput, match="multiples of 32 px"):
        build_adapter(name, classes=CLASSES, input_size=100)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_the_training_network_is_taught(name):
    adapter, model = small(name)
    adapter.loss(model.train(), *drawn_batch()).total.backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]
    # The box branches of a level on which no object is learnt get a gradient of zero.
    silent = [key for key, parameter in model.named_parameters() if not parameter.grad.any() and ".boxes." not in key]
    assert not silent
    assert any(parameter.grad.any() for key, parameter in model.named_parameters() if ".boxes." in key)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_objects_teaches_the_background_alone(name):
    adapter, model = small(name)
    loss = adapter.loss(model.train(), drawn_batch()[0], no_targets(2))
    assert all(torch.isfinite(part) for part in loss.parts.values())
    assert {key for key, part in loss.parts.items() if part.item() == 0} == {key for key in loss.parts if "class" not in key}
    assert loss.balance.positives.sum() == 0 and loss.balance.negative_loss.min() > 0


@pytest.mark.parametrize(("name", "places_each"), [("yolov8n", 10), ("yolov10n", 1)])
def test_the_balance_counts_the_places_of_each_object_on_the_levels_of_the_head_that_detects(name, places_each):
    adapter, model = small(name)
    images, targets = drawn_batch()
    balance = adapter.loss(model.train(), images, targets).balance
    assert balance.positives.sum() == places_each * sum(len(target["boxes"]) for target in targets)
    assert (balance.positives + balance.negatives).tolist() == [2 * 256, 2 * 64, 2 * 16]


def test_an_object_between_all_middles_is_learnt_by_no_place():
    adapter, model = small("yolov8n")
    targets = [{"boxes": torch.tensor([[29.0, 29, 35, 35]]), "labels": torch.tensor([0])}] * 2
    loss = adapter.loss(model.train(), drawn_batch()[0], targets)
    assert loss.balance.positives.sum() == 0 and torch.isfinite(loss.total)


def test_the_one_place_of_an_object_is_the_best_of_its_many():
    adapter, model = small("yolov10n")
    images, targets = drawn_batch()
    with torch.no_grad():
        raw = model.train()(images)
    grid = grid_of(adapter.input)
    boxes = grid.decode(raw.box_distributions)
    for scores, found, target in zip(raw.cls_logits.sigmoid(), boxes, targets, strict=True):
        many, one = (task_aligned(scores, found, grid.centres, target["boxes"], target["labels"], topk=topk) for topk in (10, 1))
        for number in range(len(target["boxes"])):
            (place,) = (one.given == number).nonzero()[:, 0].tolist()
            assert many.given[place] == number
            assert many.quality[place] == many.quality[many.given == number].max()


def test_the_one_to_one_head_learns_from_its_own_loss_and_the_trunk_from_the_other_alone():
    adapter, model = small("yolov10n")
    parts = adapter.loss(model.train(), *drawn_batch()).parts
    torch.stack([value for name, value in parts.items() if name.startswith("one_")]).sum().backward()
    taught = {key.split(".")[0] for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {"one_to_one"}
    torch.stack([value for name, value in parts.items() if name.startswith("many_")]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_is_deployed_of_v10_answers_as_the_whole_and_has_one_head_and_no_second_kernel():
    adapter, model = trained_a_little("yolov10n")
    before = copy.deepcopy(model.state_dict())
    deployed = adapter.export_module(model)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        for expected, found in zip(adapter.forward(model, images), deployed(images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert any(isinstance(module, LargeKernel) for module in model.modules())
    assert not any(isinstance(module, LargeKernel) for module in deployed.modules())
    gone = sum(parameter.numel() for parameter in model.parameters()) - sum(parameter.numel() for parameter in deployed.parameters())
    assert gone > sum(parameter.numel() for parameter in model.one_to_many.parameters())
    assert measure(adapter)[0] * 1e6 == pytest.approx(sum(parameter.numel() for parameter in deployed.parameters()), abs=1)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "the network itself stays as it is"


def test_a_checkpoint_of_v10_holds_both_heads_so_that_training_can_go_on(tmp_path):
    adapter, model = trained_a_little("yolov10n")
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), make_manifest(adapter))
    again_adapter, again, manifest = load_checkpoint(tmp_path / "model.safetensors")
    assert manifest.options == {"variant": "n", "neck": "pan"} and again_adapter.options == adapter.options
    images, targets = drawn_batch()
    expected, found = (one.loss(net.train(), images, targets).parts for one, net in ((adapter, model), (again_adapter, again)))
    assert {"many_class", "one_class"} < set(expected) and expected == found


@pytest.mark.parametrize("name", NAMES)
def test_the_classification_loss_is_a_recipes(name):
    totals = {}
    for kind in get_args(LossName):
        torch.manual_seed(0)
        adapter = build_adapter(name, classes=CLASSES, input_size=SIDE, options={"classification": {"loss": kind}})
        parts = adapter.loss(adapter.build().train(), *drawn_batch()).parts
        totals[kind] = sum(value.item() for key, value in parts.items() if "class" in key)
        assert "classification" not in adapter.options
    # All others turn down the easy background, or leave most of it out.
    whole = totals.pop("cross_entropy")
    assert all(0 < total < whole for total in totals.values()), totals
    with pytest.raises(InvalidInput, match="classification"):
        build_adapter(name, classes=CLASSES, options={"classification": {"loss": "mse"}})


@pytest.mark.parametrize("neck", get_args(Neck))
@pytest.mark.parametrize("name", NAMES)
def test_under_every_neck_all_of_the_network_learns_and_its_file_brings_it_back(name, neck, tmp_path):
    torch.manual_seed(0)
    adapter = build_adapter(name, classes=CLASSES, input_size=SIDE, options={"neck": neck})
    model = adapter.build()
    found = adapter.loss(model.train(), *drawn_batch())
    found.total.backward()
    assert found.balance.positives.shape == ((1,) if neck == "single" else (3,))
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), make_manifest(adapter))
    again_adapter, again, manifest = load_checkpoint(tmp_path / "model.safetensors")
    assert manifest.options["neck"] == neck
    with torch.no_grad():
        one, other = adapter.forward(model.eval(), drawn_batch()[0]), again_adapter.forward(again.eval(), drawn_batch()[0])
    assert one[0].shape[1] == (8 * 8 if neck == "single" else PLACES)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_with_a_neck_of_one_scale_what_detects_still_answers_as_what_was_trained():
    """In size s the stage that does not halve there has large kernels, which are merged with their small ones."""
    torch.manual_seed(0)
    adapter = build_adapter("yolov10s", classes=CLASSES, input_size=SIDE, options={"neck": "single"})
    model = adapter.build()
    adapter.loss(model.train(), *drawn_batch())  # norms that have seen an image
    images = drawn_batch()[0]
    with torch.no_grad():
        for trained, deployed in zip(adapter.forward(model.eval(), images), adapter.export_module(model)(images), strict=True):
            assert torch.allclose(trained, deployed, atol=1e-3)


def drawn_scenes(count: int = 6):
    """Grey noise with red and blue boxes of 16 to 72 px that do not touch: images [count, 3, SIDE, SIDE] in 0..1 and targets."""
    rng = np.random.default_rng(5)
    images, targets = torch.from_numpy(rng.uniform(0.3, 0.5, (count, 3, SIDE, SIDE)).astype(np.float32)), []
    for image in images:
        boxes, labels = [], []
        for across in (0, 64):
            for down in (0, 64):
                if rng.random() < 0.3:
                    continue
                width, height = rng.integers(16, 60, 2)
                x, y = across + rng.integers(0, 64 - width), down + rng.integers(0, 64 - height)
                label = int(rng.integers(2))
                image[:, y : y + height, x : x + width] = 0.1
                image[2 * label, y : y + height, x : x + width] = 0.9
                boxes.append([x, y, x + width, y + height])
                labels.append(label)
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels)})
    return images, targets


def recall(adapter, model, images, targets, *, score_thresh: float) -> float:
    """The share of objects that a detection of their class overlaps by half, among as many detections an image as it has objects."""
    with torch.no_grad():
        found = adapter.postprocess(adapter.forward(model.eval(), images), **RULES | {"score_thresh": score_thresh})
    hit = 0
    for detections, target in zip(found, targets, strict=True):
        best = slice(len(target["labels"]))
        same = detections.labels[best] == target["labels"][:, None]
        hit += int((same & (box_iou(target["boxes"], detections.boxes[best]) >= 0.5)).any(dim=1).sum())
    return hit / sum(len(target["labels"]) for target in targets)


@pytest.mark.parametrize("name", NAMES)
def test_drawn_images_are_learnt_in_eval_mode(name):
    adapter, model = small(name)
    images, targets = drawn_scenes()
    optimizer = torch.optim.AdamW(adapter.param_groups(model, 2e-3, 0.01))
    for step in range(300):
        optimizer.zero_grad()
        adapter.loss(model.train(), images, targets).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % 25 == 24 and recall(adapter, model, images, targets, score_thresh=0.25) >= 0.9:
            return
    pytest.fail(f"recall is {recall(adapter, model, images, targets, score_thresh=0.25):.2f} after 300 steps")
