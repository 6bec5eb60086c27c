"""Any compact dense detector takes any neck from its recipe: anchors lie where outputs are, it trains, its file brings it back."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from detection_core.assignment.layouts import OWN_NECKS, AnchorOptions, layout
from detection_core.build import adapter_from_manifest, build_adapter, load_checkpoint, make_manifest, save_checkpoint
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.specs import Neck
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.export.parity import generated_batches, max_abs_difference
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Manifest
from tests.detection_core.models.small import CLASSES, SIDE, drawn_batch

FAMILIES = {"retinanet": "retinanet_resnet10_fpn", "fcos": "fcos_resnet10_fpn", "ssd": "ssd_resnet10"}
NECKS = get_args(Neck)


def case(family, neck, **options):
    torch.manual_seed(0)
    adapter = build_adapter(FAMILIES[family], classes=CLASSES, input_size=SIDE, options={"neck": neck, **options})
    return adapter, adapter.build()


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_a_step_under_every_neck_with_anchors_where_its_outputs_are(family, neck):
    adapter, model = case(family, neck)
    images, targets = drawn_batch()
    strides = (16,) if neck == "single" else (8, 16, 32, 64, 128) if family == "ssd" else (8, 16, 32, 64)
    with torch.no_grad():
        levels = [level.shape[-2:] for level in model.backbone(images).values()]
        raw = adapter.forward(model.eval(), images)
    assert levels == [(SIDE // stride, SIDE // stride) for stride in strides]
    described = layout(DETECTORS[adapter.name], height=SIDE, width=SIDE, options=AnchorOptions(neck=neck))
    assert adapter._places_per_level == [level.count for level in described]
    assert [output.shape[1] for output in raw] == [len(adapter._anchors)] * len(raw)

    found = adapter.loss(model.train(), images, targets)
    found.total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    unused = [name for name, gradient in gradients.items() if gradient is None]
    assert not unused and all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert found.balance.positives.sum() >= sum(len(target["labels"]) for target in targets)
    assert len(found.balance.positives) == len(strides)
    optimizer = torch.optim.AdamW(adapter.param_groups(model, 1e-3, 0.01))
    totals = [found.total.item()]
    while len(totals) < 8:
        optimizer.step()
        optimizer.zero_grad()
        total = adapter.loss(model, images, targets).total
        total.backward()
        totals.append(total.item())
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_neck_of_a_family_is_the_one_it_always_had_and_stands_in_every_manifest(family):
    plain = build_adapter(FAMILIES[family], classes=CLASSES)
    own = OWN_NECKS[family, plain.variant]
    assert plain.options["neck"] == own
    torch.manual_seed(0)
    weights = build_adapter(FAMILIES[family], classes=CLASSES, input_size=SIDE).build().state_dict()
    named = case(family, own)[1].state_dict()
    assert weights.keys() == named.keys() and all(torch.equal(value, named[name]) for name, value in weights.items())
    for neck in NECKS:
        adapter = build_adapter(FAMILIES[family], classes=CLASSES, options={"neck": neck})
        again = adapter_from_manifest(Manifest.parse(make_manifest(adapter).to_json()))
        assert again.options == adapter.options and again.options["neck"] == neck


@pytest.mark.parametrize("family", FAMILIES)
def test_necks_differ_by_less_than_a_quarter_of_the_parameters_so_that_they_can_be_compared(family):
    counts = {neck: make_manifest(build_adapter(FAMILIES[family], classes=CLASSES, options={"neck": neck})).params_m for neck in NECKS}
    assert max(counts.values()) < 1.25 * min(counts.values()), counts
    if family != "ssd":
        assert counts["multi"] == counts["fpn"]


@pytest.mark.parametrize(("family", "neck"), [("retinanet", "pan"), ("ssd", "single")])
def test_a_neck_goes_through_checkpoint_and_graph(family, neck, tmp_path):
    adapter, model = case(family, neck)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), make_manifest(adapter))
    again, loaded, manifest = load_checkpoint(tmp_path / "model.safetensors")
    assert again.options == adapter.options
    manifest = onnx_manifest(manifest, parent_sha256="0" * 64)
    export_onnx(again, loaded, manifest, tmp_path / "model.onnx")
    batches = generated_batches(manifest.input, count=2, seed=9)
    assert max_abs_difference(again, loaded, manifest, tmp_path / "model.onnx", threads=1, batches=batches) < 2e-3
    with torch.no_grad():
        raw = adapter.forward(model.eval(), torch.from_numpy(batches[0]))
    limits = {"score_thresh": 0.001, "nms_thresh": 0.5, "max_det": 100, "pre_nms_topk": 1000}
    scores = adapter_from_manifest(manifest).postprocess(raw, **limits)[0].scores
    assert scores.max() - scores.min() > 0.01, "constant scores would agree whatever the graph does"


def test_the_one_level_of_fcos_learns_objects_of_all_sizes():
    adapter, _ = case("fcos", "single")
    objects = torch.tensor([[8.0, 8, 30, 30], [0, 0, 128, 128], [70, 70, 118, 118]])
    assert set(adapter.assign(adapter._anchors, objects).tolist()) == {-1, 0, 1, 2}


def test_anchors_of_a_recipe_stand_on_the_levels_of_its_neck():
    adapter, model = case("retinanet", "single", anchor_sizes=[[10.0, 20, 40]], aspect_ratios=[[0.6, 1.0]])
    assert adapter._generator().num_anchors_per_location() == [6]
    assert adapter.options["anchor_sizes"] == [[10.0, 20.0, 40.0]] and adapter.options["neck"] == "single"
    with torch.no_grad():
        assert adapter.forward(model.eval(), drawn_batch()[0])[0].shape[1] == 6 * 8 * 8 == len(adapter._anchors)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("retinanet_resnet10_fpn", {"neck": "single", "anchor_sizes": [[8]] * 4}, "has 1 level and anchor_sizes has 4"),
        ("ssd_resnet10", {"neck": "single", "anchor_sizes": [[8]], "aspect_ratios": [[1]] * 5}, "has 1 level and aspect_ratios has 5"),
        ("fcos_resnet10_fpn", {"neck": "bifpn"}, "'single', 'multi', 'fpn' or 'pan'"),
        ("fasterrcnn_resnet10_fpn", {"neck": "pan"}, "has no option neck"),
    ],
)
def test_a_neck_that_a_network_cannot_have_is_refused_with_a_sentence(name, options, words):
    with pytest.raises(InvalidInput, match=words):
        build_adapter(name, classes=CLASSES, options=options)
