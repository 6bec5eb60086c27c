"""Catalogue entry to network, network to file and back; and what is no file of ours."""

from __future__ import annotations

import pickle

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from detection_core.build import (
    MANIFEST_KEY,
    adapter_from_manifest,
    build_adapter,
    load_checkpoint,
    make_manifest,
    read_manifest,
    save_checkpoint,
)
from detection_core.catalogue.detectors import DETECTORS
from detection_core.schemas.base import InvalidInput

CLASSES = ("crop", "weed")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    adapter = build_adapter("ssd_resnet10", classes=CLASSES, input_size=128)
    model = adapter.build()
    manifest = make_manifest(adapter, dataset_sha256="d" * 64)
    path = tmp_path_factory.mktemp("build") / "model.safetensors"
    save_checkpoint(path, model.state_dict(), manifest)
    return path, adapter, model, manifest


def test_a_checkpoint_gives_back_the_same_network_in_eval_mode(saved):
    path, adapter, model, manifest = saved
    again, loaded, found = load_checkpoint(path)
    assert found == manifest and not loaded.training
    assert (again.name, again.classes, again.input, again.options) == (adapter.name, adapter.classes, adapter.input, adapter.options)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_equal_weights_give_equal_bytes_whatever_their_order_in_memory(saved, tmp_path):
    path, _, model, manifest = saved
    save_checkpoint(tmp_path / "again.safetensors", model.to(memory_format=torch.channels_last).state_dict(), manifest)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.safetensors"]


def test_the_manifest_says_what_the_network_is(saved):
    _, adapter, model, manifest = saved
    entry = DETECTORS["ssd_resnet10"]
    assert (manifest.family, manifest.stages, manifest.licence) == (entry.family, entry.stages, entry.licence)
    assert (manifest.input.height, manifest.input.width, manifest.input.resize) == (128, 128, entry.resize)
    assert manifest.postprocessing.nms_thresh == entry.nms_thresh and manifest.postprocessing.score_thresh == 0.001
    assert manifest.outputs == adapter.output_names and manifest.options == adapter.options
    assert manifest.params_m == pytest.approx(sum(parameter.numel() for parameter in model.parameters()) / 1e6, abs=1e-5)
    assert 0 < manifest.macs_g < entry.macs_g


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_adapter_comes_back_from_its_manifest(name):
    adapter = build_adapter(name, classes=CLASSES)
    manifest = make_manifest(adapter)
    again = adapter_from_manifest(manifest)
    assert (again.name, again.classes, again.input, again.options) == (adapter.name, adapter.classes, adapter.input, adapter.options)
    assert (manifest.input.height, manifest.model) == (DETECTORS[name].input_size, name)


def test_options_of_the_file_outlive_a_change_of_the_catalogue(saved):
    adapter = build_adapter("fcos_resnet10_fpn", classes=CLASSES, options={"head_convs": 3})
    again = adapter_from_manifest(make_manifest(adapter))
    assert again.options["head_convs"] == 3


def test_ssd300_takes_pixels_as_its_published_weights_expect_them():
    policy = build_adapter("ssd300_vgg16", classes=CLASSES).input
    assert policy.resize == "stretch" and policy.std == pytest.approx((1 / 255,) * 3)
    assert build_adapter("ssdlite320_mobilenet_v3_large", classes=CLASSES).input.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "nothing", "classes": CLASSES}, "there is no detector named 'nothing'; use one of fasterrcnn"),
        ({"name": "fcos_resnet10_fpn", "classes": ()}, "at least one class"),
        (
            {"name": "fcos_resnet10_fpn", "classes": CLASSES, "options": {"depth": 3}},
            "no option depth; it has classification, head_convs, neck, variant",
        ),
        ({"name": "fcos_resnet10_fpn", "classes": CLASSES, "options": {"head_convs": 0}}, "head_convs"),
        ({"name": "fcos_resnet10_fpn", "classes": CLASSES, "input_size": 5000}, "height"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        build_adapter(**arguments)


@pytest.mark.parametrize("write", [lambda path: torch.save({"a": torch.zeros(1)}, path), lambda path: path.write_bytes(pickle.dumps([1]))])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_pickle_is_refused_whatever_it_is_called(tmp_path, write, name):
    write(tmp_path / name)
    for reader in (read_manifest, load_checkpoint):
        with pytest.raises(InvalidInput, match=f"{name} is a pickle"):
            reader(tmp_path / name)


def test_broken_and_foreign_files_get_a_sentence(saved, tmp_path):
    path, *_ = saved
    (tmp_path / "torn.safetensors").write_bytes(path.read_bytes()[:5000])
    (tmp_path / "text.onnx").write_text("hello, I am no model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, words in {
        "torn.safetensors": "not a readable safetensors file",
        "text.onnx": "neither a safetensors checkpoint nor an ONNX file",
        "empty.onnx": "holds no manifest",
        "foreign.safetensors": "holds no manifest",
        "absent.onnx": "there is no model file",
    }.items():
        with pytest.raises(InvalidInput, match=words):
            read_manifest(tmp_path / name)


def test_weights_of_another_network_are_refused(saved, tmp_path):
    _, _, model, manifest = saved
    weights = dict(model.state_dict())
    weights.pop(next(iter(weights)))
    save_checkpoint(tmp_path / "model.safetensors", weights, manifest)
    with pytest.raises(InvalidInput, match="do not belong to the network"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_the_manifest_of_an_onnx_file_is_read_and_its_weights_are_not_a_checkpoint(saved, tmp_path):
    *_, manifest = saved
    exported = manifest.model_copy(update={"format": "onnx"})
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [helper.make_tensor_value_info("y", 1, [1])])
    model = helper.make_model(graph)
    helper.set_model_props(model, {MANIFEST_KEY: exported.model_dump_json()})
    onnx.save(model, tmp_path / "model.onnx")
    assert read_manifest(tmp_path / "model.onnx") == exported
    with pytest.raises(InvalidInput, match="is an exported onnx file"):
        load_checkpoint(tmp_path / "model.onnx")
