"""An exported file answers like its checkpoint, on families that differ: dense heads, a grid of cells, NMS in the graph, no NMS at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from detection_core.backends.pipeline import DetectionPipeline
from detection_core.build import build_adapter, load_checkpoint, make_manifest, read_manifest, save_checkpoint
from detection_core.catalogue.detectors import DETECTORS
from detection_core.export import onnx_export
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.export.parity import dense_difference, detections_difference, generated_batches, max_abs_difference
from detection_core.schemas.manifest import NO_NMS

NAMES = ("fcos_resnet10_fpn", "fasterrcnn_resnet10_fpn", "yolov1_compact", "yolov3_compact", "yolov8n", "yolov10n")
HEADS = ("head", "predict", "one_to_one")
# Through many norms that have seen nothing hardly anything comes: these heads are perturbed more than others.
SCALES = {"yolov8n": 0.5, "yolov10n": 0.65}
SIDE = 128


def write_perturbed_checkpoint(name: str, path: Path) -> None:
    """Write a network whose scores differ from place to place: with the initial weights every score is the same."""
    torch.manual_seed(0)
    adapter = build_adapter(name, classes=("crop", "weed"), input_size=SIDE)
    model = adapter.build()
    with torch.no_grad():
        for name_of_parameter, parameter in model.named_parameters():
            if parameter.ndim == 1 or any(head in name_of_parameter for head in HEADS):
                parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.ndim == 1 else SCALES.get(name, 0.02)))
    save_checkpoint(path, model.state_dict(), make_manifest(adapter))


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_perturbed_checkpoint(request.param, folder / "model.safetensors")
    adapter, model, manifest = load_checkpoint(folder / "model.safetensors")
    parent = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    manifest = onnx_manifest(manifest, parent_sha256=parent)
    export_onnx(adapter, model, manifest, folder / "model.onnx")
    return adapter, model, manifest, folder


def test_raw_outputs_agree_with_the_checkpoint_on_inputs_the_tracer_never_saw(exported):
    adapter, model, manifest, folder = exported
    batches = generated_batches(manifest.input, count=4, seed=9)
    assert max_abs_difference(adapter, model, manifest, folder / "model.onnx", threads=1, batches=batches) < 2e-3
    with torch.no_grad():
        raw = adapter.forward(model, torch.from_numpy(batches[0]))
    scores = adapter.postprocess(raw, score_thresh=0.001, nms_thresh=0.5, max_det=100, pre_nms_topk=1000)[0].scores
    assert scores.max() - scores.min() > 0.01, "constant scores would agree whatever the graph does"


def no_suppression(*_args):
    raise AssertionError("a detector that needs no NMS had its detections suppressed")


def test_detections_of_both_backends_agree_on_an_image_of_another_size(exported, monkeypatch):
    adapter, _, _, folder = exported
    if DETECTORS[adapter.name].nms_free:
        monkeypatch.setattr("detection_core.nn.postprocess.batched_nms", no_suppression)
    image = (np.random.default_rng(0).random((90, 170, 3)) * 255).astype(np.uint8)
    image[20:60, 30:90] = (250, 20, 20)
    found = []
    for backend, name in (("eager", "model.safetensors"), ("onnxruntime", "model.onnx")):
        pipeline = DetectionPipeline(folder / name, backend=backend, device="cpu", threads=1, score_thresh=0.001)
        found.append(pipeline.detect(image))
        pipeline.close()
    assert len(found[0].scores) == len(found[1].scores) > 0
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-4)
    assert unmatched(*found) == unmatched(*reversed(found)) == 0


def unmatched(found, other):
    """How many detections have no counterpart of their class with all sides within half a pixel and the score within 1e-3.

    Ranks are not compared: two runtimes may swap equal scores.
    """
    near = np.abs(found.boxes[:, None] - other.boxes[None]).max(axis=2) < 0.5
    same = (found.labels[:, None] == other.labels[None]) & (np.abs(found.scores[:, None] - other.scores[None]) < 1e-3)
    return int((~(near & same).any(axis=1)).sum())


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["yolov1", "yolov3"])
def test_the_published_yolos_have_layers_that_the_compact_ones_lack_and_answer_alike_too(name, tmp_path):
    torch.manual_seed(0)
    adapter = build_adapter(name, classes=("crop", "weed"), input_size=SIDE)
    model = adapter.build().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(2, 3, SIDE, SIDE))  # norms that have seen nothing let the residual blocks grow without end
    manifest = onnx_manifest(make_manifest(adapter), parent_sha256="0" * 64)
    export_onnx(adapter, model.eval(), manifest, tmp_path / "model.onnx")
    batches = generated_batches(manifest.input, count=2, seed=9)
    assert max_abs_difference(adapter, model, manifest, tmp_path / "model.onnx", threads=1, batches=batches) < 1e-4
    with torch.no_grad():
        first, second = (adapter.forward(model, torch.from_numpy(batch))[0] for batch in batches)
    assert (first - second).abs().max() > 0.01, "constant outputs would agree whatever the graph does"


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_the_graph_runs_on_an_image_with_nothing_on_it(exported, value):
    adapter, model, manifest, folder = exported
    batch = np.full((1, 3, SIDE, SIDE), value, np.float32)
    assert max_abs_difference(adapter, model, manifest, folder / "model.onnx", threads=1, batches=[batch]) < 2e-3


def test_the_manifest_travels_inside_the_file(exported):
    _, _, manifest, folder = exported
    found = read_manifest(folder / "model.onnx")
    assert found == manifest
    assert found.format == "onnx"
    assert found.parent_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_graph_takes_one_image_of_fixed_size_and_returns_float32_or_int64(exported):
    adapter, _, _, folder = exported
    graph = onnx.load(folder / "model.onnx").graph
    (image,) = graph.input
    assert image.name == "images"
    assert [axis.dim_value for axis in image.type.tensor_type.shape.dim] == [1, 3, SIDE, SIDE]
    assert tuple(output.name for output in graph.output) == adapter.output_names
    assert {output.type.tensor_type.elem_type for output in graph.output} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def operators(graph):
    """Names of all operators, those inside branches too."""
    branches = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {node.op_type for node in graph.node}.union(*(operators(branch) for branch in branches))


def test_nms_is_in_the_graph_or_follows_it_as_the_manifest_says(exported):
    _, _, manifest, folder = exported
    assert ("NonMaxSuppression" in operators(onnx.load(folder / "model.onnx").graph)) == manifest.nms_in_graph
    assert (manifest.postprocessing.nms_thresh == NO_NMS) == DETECTORS[manifest.model].nms_free


def export_again(folder: Path) -> bytes:
    adapter, model, _ = load_checkpoint(folder / "model.safetensors")
    export_onnx(adapter, model, read_manifest(folder / "model.onnx"), folder / "again.onnx")
    return (folder / "again.onnx").read_bytes()


def test_a_second_export_has_the_same_bytes_and_names_no_path_of_this_machine(exported):
    folder = exported[-1]
    written = export_again(folder)
    assert written == (folder / "model.onnx").read_bytes()
    assert str(Path(onnx_export.__file__).parents[1]).encode() not in written
    assert not list(folder.glob("*.part"))


def test_an_export_in_another_process_has_the_same_bytes(tmp_path):
    write_perturbed_checkpoint("fasterrcnn_resnet10_fpn", tmp_path / "model.safetensors")
    adapter, model, manifest = load_checkpoint(tmp_path / "model.safetensors")
    export_onnx(adapter, model, onnx_manifest(manifest, parent_sha256="0" * 64), tmp_path / "model.onnx")
    code = (
        "import sys; from pathlib import Path; from tests.detection_core.export.test_onnx_export import *; export_again(Path(sys.argv[1]))"
    )
    root = Path(onnx_export.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


class Doubling(torch.nn.Module):
    def forward(self, images):
        return images.to(torch.float64).mean(), images.mean(), images.sum()


def test_an_output_of_another_type_is_refused_and_no_file_is_left(exported, tmp_path):
    adapter, _, manifest, _ = exported

    class Wrong(type(adapter)):
        def export_module(self, model):
            return model

    wrong = Wrong(adapter.name, adapter.classes, adapter.input, adapter.variant)
    with pytest.raises(RuntimeError, match="DOUBLE"):
        export_onnx(wrong, Doubling(), manifest, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_weight_is_seen_as_a_difference(exported):
    adapter, model, manifest, folder = exported
    batches = generated_batches(manifest.input, count=1, seed=9)
    with torch.no_grad():
        weight = next(model.parameters())
        weight.mul_(8)
        try:
            assert max_abs_difference(adapter, model, manifest, folder / "model.onnx", threads=1, batches=batches) > 5e-3
        finally:
            weight.div_(8)


def detections(boxes, scores, labels):
    return np.array([boxes], np.float32), np.array([scores], np.float32), np.array([labels])


def test_detections_in_another_order_are_no_difference():
    first = detections([[0, 0, 9, 9], [20, 20, 30, 30]], [0.5, 0.5], [0, 1])
    second = detections([[20, 20, 30, 30], [0, 0, 9, 9]], [0.5, 0.5], [1, 0])
    assert detections_difference(first, second) == 0


def test_a_detection_without_a_counterpart_counts_as_its_score_in_both_directions():
    both = detections([[0, 0, 9, 9], [50, 50, 60, 60]], [0.9, 0.3], [0, 0])
    one = detections([[0, 0, 9, 9]], [0.9], [0])
    none = detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert detections_difference(both, one) == detections_difference(one, both) == pytest.approx(0.3)
    assert detections_difference(none, one) == pytest.approx(0.9)
    assert detections_difference(none, none) == 0


def test_another_label_is_another_detection():
    assert detections_difference(detections([[0, 0, 9, 9]], [0.4], [0]), detections([[0, 0, 9, 9]], [0.4], [1])) == pytest.approx(0.4)


def test_dense_outputs_are_compared_value_by_value_and_other_shapes_are_refused():
    assert dense_difference((np.zeros((1, 2)),), (np.array([[0.0, 0.25]]),)) == 0.25
    with pytest.raises(RuntimeError, match="shapes"):
        dense_difference((np.zeros((1, 2)),), (np.zeros((1, 3)),))
