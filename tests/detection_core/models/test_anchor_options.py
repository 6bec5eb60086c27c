"""Anchors are fields of a recipe: training, export, evaluation and resuming use the ones that the file was trained with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from detection_core.__main__ import main
from detection_core.assignment.layouts import AnchorOptions, layout
from detection_core.build import adapter_from_manifest, build_adapter, load_checkpoint, make_manifest, read_manifest
from detection_core.catalogue.detectors import DETECTORS
from detection_core.operations.run import THREAD_VARIABLES
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Manifest
from tests.detection_core.models.small import CLASSES, drawn_batch
from tests.detection_core.tiny import write_yolo

FOUR = {"anchor_sizes": [[10.0], [20.0], [40.0], [80.0]], "aspect_ratios": [[0.6, 1.0]] * 4}
OTHER = {
    "retinanet_resnet10_fpn": FOUR,
    "fasterrcnn_resnet10_fpn": FOUR,
    "yolov3_compact": {"anchor_sizes": [[10.0, 16.0], [24.0], [40.0, 60.0]], "aspect_ratios": [[0.6, 1.0]] * 3},
    "ssd_resnet10": {"anchor_sizes": [[10.0], [20.0, 30.0], [40.0], [60.0], [90.0]], "aspect_ratios": [[0.6, 1.0, 2.0]] * 5},
}


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """Run a command with --json in this process; return its status and its document."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))

    def run(*words):
        status = main([str(word) for word in (*words, "--json")])
        return status, json.loads(capfd.readouterr().out)

    return run


@pytest.mark.parametrize("name", sorted(OTHER))
def test_other_anchors_go_from_the_recipe_through_training_and_export_into_both_backends(call, tmp_path, name):
    data = write_yolo(tmp_path, splits=("train", "val", "test"))
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"input_size": 128, "batch_size": 3, "epochs": 2, "seed": 1, "model_options": OTHER[name]}))
    status, trained = call("train", "--model", name, "--dataset", data, "--recipe", recipe, "--out", tmp_path / "run")
    assert status == 0, trained
    best = trained["best"]["path"]
    status, exported = call("export", "--checkpoint", best, "--out", tmp_path / "onnx")
    assert status == 0 and exported["max_abs_difference"] < 1e-3
    for path in (best, exported["path"]):
        options = read_manifest(Path(path)).options
        assert {key: options[key] for key in OTHER[name]} == OTHER[name]

    adapter, _, _ = load_checkpoint(Path(best))
    levels = layout(DETECTORS[name], height=128, width=128, options=AnchorOptions.parse(OTHER[name]))
    if name != "fasterrcnn_resnet10_fpn":
        assert np.abs(adapter._anchors.numpy() - np.concatenate([level.boxes() for level in levels])).max() < 1e-3

    found = {}
    for backend, path in (("eager", best), ("onnxruntime", exported["path"])):
        option = "--checkpoint" if backend == "eager" else "--artifact"
        status, document = call("evaluate", option, path, "--dataset", data, "--split", "test", "--backend", backend)
        assert status == 0, document
        found[backend] = document
    assert found["eager"]["detections"] > 0
    assert found["eager"]["metrics"] == pytest.approx(found["onnxruntime"]["metrics"], abs=1e-4, nan_ok=True)


def test_a_training_is_not_resumed_with_other_anchors(call, tmp_path):
    data = write_yolo(tmp_path, splits=("train", "val"))
    recipe = {"input_size": 64, "batch_size": 3, "epochs": 1, "state_every_s": 0.001, "model_options": FOUR}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    arguments = ("train", "--model", "retinanet_resnet10_fpn", "--dataset", data, "--recipe", tmp_path / "recipe.json")
    assert call(*arguments, "--out", tmp_path / "run")[0] == 0
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"model_options": {}}))
    status, document = call(*arguments, "--resume", tmp_path / "run", "--out", tmp_path / "again")
    assert status == 2
    assert "differs from this training in options, model_options" in document["failure"]["message"]


@pytest.mark.parametrize("name", sorted(name for name, entry in DETECTORS.items() if entry.anchors))
def test_every_detector_with_anchors_takes_others_and_its_manifest_brings_them_back(name):
    side = DETECTORS[name].input_size
    levels = layout(DETECTORS[name], height=side, width=side)
    options = {"anchor_sizes": [[12.0 * 1.5**level] for level in range(len(levels))], "aspect_ratios": [[0.5, 1.0]] * len(levels)}
    adapter = build_adapter(name, classes=CLASSES, options=options)
    manifest = Manifest.parse(make_manifest(adapter).to_json())
    again = adapter_from_manifest(manifest)
    assert again.options == adapter.options
    assert (again.anchor_sizes, again.aspect_ratios) == (adapter.anchor_sizes, adapter.aspect_ratios)
    assert {key: manifest.options[key] for key in options} == options
    plain = build_adapter(name, classes=CLASSES)
    assert set(plain.options) == set(adapter.options) - set(options)
    assert make_manifest(plain).params_m > manifest.params_m  # fewer anchors at a place, smaller heads


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"])
def test_a_published_size_with_other_anchors_can_be_trained(name):
    levels = len(layout(DETECTORS[name], height=320, width=320))
    options = {"anchor_sizes": [[14.0 * 1.6**level] for level in range(levels)], "aspect_ratios": [[1.0, 2.0]] * levels}
    torch.manual_seed(0)
    adapter = build_adapter(name, classes=CLASSES, input_size=128, options=options)
    total = adapter.loss(adapter.build().train(), *drawn_batch()).total
    total.backward()
    assert torch.isfinite(total)


def test_the_weights_of_a_network_without_options_are_drawn_as_before():
    """Options must not change what a seed gives where they are not used."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(3)
    ours = build_adapter("ssdlite320_mobilenet_v3_large", classes=CLASSES).build().state_dict()
    torch.manual_seed(3)
    published = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).state_dict()
    assert all(torch.equal(value, published[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("retinanet_resnet10_fpn", {"anchor_sizes": [[8]]}, "has 4 levels and anchor_sizes has 1"),
        ("fasterrcnn_resnet50_fpn", {"aspect_ratios": [[1], [1], [1], [1], [1, 2]]}, "one head for all levels"),
        ("ssd_resnet10", {"anchor_sizes": [[8]] * 5}, "takes anchor_sizes and aspect_ratios together"),
        ("ssd_resnet10", {"anchor_sizes": [["a"]] * 5}, "anchor_sizes"),
        (
            "fcos_resnet10_fpn",
            {"anchor_sizes": [[8]] * 4},
            "has no option anchor_sizes; it has classification, head_convs, neck, variant",
        ),
    ],
)
def test_anchors_that_a_network_cannot_have_are_refused_with_a_sentence(name, options, words):
    with pytest.raises(InvalidInput, match=words):
        build_adapter(name, classes=CLASSES, options=options)
