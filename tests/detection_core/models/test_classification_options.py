"""Any dense family takes any classification loss from its recipe: it trains, is saved, exported and read as it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from detection_core.__main__ import main
from detection_core.build import adapter_from_manifest, build_adapter, load_checkpoint, make_manifest, save_checkpoint
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.export.parity import generated_batches, max_abs_difference
from detection_core.models import fcos, retinanet, ssd
from detection_core.nn.classification import SETTINGS, Classification
from detection_core.nn.losses import prior_bias
from detection_core.operations.run import THREAD_VARIABLES
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from tests.detection_core.models.small import CLASSES, SIDE, drawn_batch, no_targets
from tests.detection_core.tiny import write_yolo

DENSE = ("retinanet_resnet10_fpn", "fcos_resnet10_fpn", "ssd_resnet10")
LOSSES = tuple(SETTINGS)
LIMITS = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}


def case(name, loss, *, seed=0, side=SIDE, **numbers):
    torch.manual_seed(seed)
    adapter = build_adapter(name, classes=CLASSES, input_size=side, options={"classification": {"loss": loss, **numbers}})
    return adapter, adapter.build()


def decoded(adapter, raw):
    """What every place of every image tells, [images, places, 4]."""
    regression, anchors = raw[1], adapter._anchors
    if adapter.name.startswith("fcos"):
        return torch.stack([fcos.CODER.decode(one, anchors) for one in regression])
    coder = (retinanet if adapter.name.startswith("retinanet") else ssd).CODER
    return torch.stack([coder.decode_single(one, anchors) for one in regression])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", DENSE)
def test_every_family_takes_a_step_with_every_loss_and_knows_who_brought_how_much_of_it(name, loss):
    adapter, model = case(name, loss)
    images, targets = drawn_batch()
    optimizer = torch.optim.AdamW(adapter.param_groups(model, 1e-3, 0.01))
    found = adapter.loss(model.train(), images, targets)
    found.total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)
    # Coarse levels of SSD without positives may have no hard negative either.
    moved = [parameter.grad.abs().max() > 0 for parameter in model.head.classification_head.parameters()]
    assert any(moved) if loss == "hard_mining" else all(moved)
    optimizer.step()
    assert torch.isfinite(adapter.loss(model, images, targets).total)

    positives = found.balance.positives.sum()
    assert positives > 0 and found.balance.positive_loss.sum() > 0 and found.balance.negative_loss.sum() > 0
    if not name.startswith("retinanet"):  # which divides by the positives of each image, not of the batch
        total = (found.balance.positive_loss + found.balance.negative_loss).sum() / positives
        assert found.parts["classification"].item() == pytest.approx(total.item(), rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_balance_of_one_image_adds_up_to_retinanets_classification_loss(loss):
    adapter, model = case("retinanet_resnet10_fpn", loss)
    images, targets = drawn_batch()
    found = adapter.loss(model.eval(), images[:1], targets[:1])
    total = (found.balance.positive_loss + found.balance.negative_loss).sum() / found.balance.positives.sum()
    assert found.parts["classification"].item() == pytest.approx(total.item(), rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", DENSE)
def test_images_without_objects_teach_the_background_or_with_mining_nothing(name, loss):
    adapter, model = case(name, loss)
    parts = adapter.loss(model.train(), drawn_batch()[0], no_targets(2)).parts
    torch.stack(list(parts.values())).sum().backward()
    assert (parts["classification"].item() > 0) is (loss != "hard_mining")
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("loss", ["quality_focal", "varifocal"])
@pytest.mark.parametrize("name", DENSE)
def test_a_quality_loss_aims_at_the_iou_of_each_positives_own_box_without_moving_the_box(name, loss, monkeypatch):
    adapter, model = case(name, loss)
    images, targets = drawn_batch()
    seen = {}

    def spy(settings, logits, wanted, given):
        seen.update(logits=logits, wanted=wanted, given=given)
        return logits.sigmoid() * wanted

    module = {"retinanet": retinanet, "fcos": fcos, "ssd": ssd}[name.split("_")[0]]
    monkeypatch.setattr(module, "classification_loss", spy)
    found = adapter.loss(model.eval(), images, targets)
    with torch.no_grad():
        boxes = decoded(adapter, adapter.forward(model, images))
    for image, target in enumerate(targets):
        given, wanted = seen["given"][image], seen["wanted"][image]
        for place in range(len(given)):
            expected = torch.zeros(len(CLASSES))
            if given[place] >= 0:
                own = target["boxes"][given[place]][None]
                expected[target["labels"][given[place]]] = box_iou(boxes[image, place][None], own)[0, 0]
            torch.testing.assert_close(wanted[place], expected, atol=1e-5, rtol=1e-4)
    assert seen["wanted"].max() > 0 and not seen["wanted"].requires_grad
    (moved,) = torch.autograd.grad(found.parts["classification"], [next(model.head.regression_head.parameters())], allow_unused=True)
    assert moved is None


@pytest.mark.parametrize("name", ["ssd_resnet10", "ssdlite320_mobilenet_v3_large", "retinanet_resnet10_fpn", "fcos_resnet10_fpn"])
def test_scores_that_are_sigmoids_start_at_a_hundredth(name):
    adapter, model = case(name, "focal")
    biases = [part.bias for part in model.head.classification_head.modules() if isinstance(part, torch.nn.Conv2d)]
    last = [bias for bias in biases if bias is not None and torch.allclose(bias, torch.tensor(prior_bias()))]
    assert len(last) == (len(adapter._places_per_level) if "ssd" in name else 1)
    with torch.no_grad():
        scores = adapter.forward(model.eval(), torch.zeros(1, 3, SIDE, SIDE))[0].sigmoid()
    assert scores.shape[2] == len(CLASSES)
    assert scores.median().item() == pytest.approx(0.01, abs=0.008)


def test_ssd_with_sigmoids_comes_back_from_its_file_and_its_graph_is_read_as_it_was_trained(tmp_path):
    adapter, model = case("ssd_resnet10", "varifocal", gamma=1.5)
    with torch.no_grad():
        for layers in model.head.classification_head.module_list:
            layers.bias.add_(torch.randn_like(layers.bias))
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), make_manifest(adapter))
    again, loaded, manifest = load_checkpoint(tmp_path / "model.safetensors")
    assert again.options == adapter.options and manifest.options["classification"] == {"loss": "varifocal", "gamma": 1.5}

    manifest = onnx_manifest(manifest, parent_sha256="0" * 64)
    export_onnx(again, loaded, manifest, tmp_path / "model.onnx")
    batches = generated_batches(manifest.input, count=2, seed=9)
    assert max_abs_difference(again, loaded, manifest, tmp_path / "model.onnx", threads=1, batches=batches) < 2e-3
    with torch.no_grad():
        raw = adapter.forward(model.eval(), torch.from_numpy(batches[0]))
    (found,) = adapter_from_manifest(manifest).postprocess(raw, **LIMITS)
    assert raw[0].shape[2] == len(CLASSES)
    assert found.scores[0].item() == pytest.approx(raw[0][0].sigmoid().max().item())
    assert set(found.labels.tolist()) == {0, 1}


def test_what_ssd_learns_with_sigmoids_is_found_again_where_it_is():
    adapter, model = case("ssd_resnet10", "focal")
    images, targets = drawn_batch()
    raw = adapter.forward(model.eval(), images)
    given = adapter.assign(adapter._anchors, targets[1]["boxes"])
    logits, regression = torch.full_like(raw[0][1], -9.0), torch.zeros_like(raw[1][1])
    for place in (given >= 0).nonzero().squeeze(1):
        own = targets[1]["boxes"][given[place]]
        logits[place, targets[1]["labels"][given[place]]] = 3.0
        regression[place] = ssd.CODER.encode_single(own[None], adapter._anchors[place][None])[0]
    (found,) = adapter.postprocess((logits[None], regression[None]), **(LIMITS | {"score_thresh": 0.5}))
    overlap, match = box_iou(targets[1]["boxes"], found.boxes).max(dim=1)
    assert len(found.scores) == 3 and overlap.min() > 0.99 and found.labels[match].tolist() == targets[1]["labels"].tolist()


def test_the_loss_stands_in_a_manifest_only_where_it_decides_how_scores_are_read():
    for name in DENSE:
        assert "classification" not in build_adapter(name, classes=CLASSES).options
        assert ("classification" in case(name, "focal")[0].options) is name.startswith("ssd")
    assert "classification" not in case("ssd_resnet10", "hard_mining", negatives_per_positive=5.0)[0].options
    manifest = Manifest.parse(make_manifest(case("ssd_resnet10", "cross_entropy")[0]).to_json())
    assert adapter_from_manifest(manifest).classification == Classification("cross_entropy")


def test_a_recipe_brings_loss_and_neck_through_the_training_into_the_checkpoint(tmp_path, monkeypatch, capfd):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))
    data = write_yolo(tmp_path, splits=("train", "val"))
    options = {"classification": {"loss": "quality_focal", "gamma": 1.0}, "neck": "single"}
    recipe = Recipe.parse({"input_size": 64, "batch_size": 3, "epochs": 1, "model_options": options})
    assert Recipe.parse(recipe.to_json()).model_options == options
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    arguments = ("--model", "ssd_resnet10", "--dataset", data, "--recipe", tmp_path / "recipe.json", "--out", tmp_path / "run", "--json")
    assert main(["train", *map(str, arguments)]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["recipe"]["model_options"] == options
    adapter, _, manifest = load_checkpoint(Path(document["best"]["path"]))
    assert adapter.classification == Classification("quality_focal", gamma=1.0)
    assert manifest.options == {"variant": "resnet10", **options}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "focal", "alpha": 1.0}, "alpha"),
        ({"loss": "focal", "gamma": -1.0}, "gamma"),
        ({"loss": "hard_mining", "negatives_per_positive": 0}, "negatives_per_positive"),
        ({"loss": "hard_mining", "gamma": 1.0}, "'hard_mining' takes negatives_per_positive, not gamma; leave out"),
        ({"loss": "focus"}, "'focal', 'cross_entropy', 'hard_mining'"),
        ({"loss": "focal", "gama": 1.0}, "field 'classification.gama' is not known; remove it or correct its name"),
        ({"gamma": 1.0}, "field 'classification.loss' is missing; add it"),
        ("focal", "classification"),
    ],
)
@pytest.mark.parametrize("name", DENSE)
def test_a_loss_that_cannot_be_is_refused_by_name(name, options, words):
    with pytest.raises(InvalidInput, match=words):
        build_adapter(name, classes=CLASSES, options={"classification": options})
