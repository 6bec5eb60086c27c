"""Each layout of files from elsewhere, read off hand-made graphs with boxes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection_core.backends.pipeline import DetectionPipeline
from detection_core.build import adapter_from_manifest, read_manifest
from detection_core.catalogue.layouts import LAYOUTS
from detection_core.models.foreign import YoloxAdapter, fit_outputs
from detection_core.operations.context import JobContext
from detection_core.operations.import_model import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import EventWriter
from detection_core.schemas.files import InputFile
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.specs import ImportModelSpec
from tests.detection_core.foreign_graphs import (
    SIDE,
    anchor_free_outputs,
    constant_graph,
    end_to_end_outputs,
    fastestdet_outputs,
    nanodet_outputs,
    redness_graph,
    saved,
    yolox_outputs,
)

OUTPUTS = {
    "yolox": yolox_outputs,
    "nanodet": nanodet_outputs,
    "anchor_free": anchor_free_outputs,
    "end_to_end": end_to_end_outputs,
    "fastestdet": fastestdet_outputs,
}
POLICY = InputPolicy(height=SIDE, width=SIDE)


@pytest.fixture
def imported(tmp_path):
    """Import a model and return the path of the file that the import wrote."""

    def do(model, layout, **changes):
        context = JobContext(out=tmp_path, events=EventWriter(tmp_path / "events.jsonl"), inputs=None, cache=tmp_path)
        file = InputFile(ref=str(saved(model, tmp_path / "given.onnx")))
        run(ImportModelSpec(**{"file": file, "layout": layout, "name": "given", "classes": ("crop", "weed")} | changes), context)
        return tmp_path / "model.onnx"

    return do


def detect(path, *, width=SIDE, height=SIDE, colour=(90, 90, 90), **options):
    pipeline = DetectionPipeline(path, backend="onnxruntime", **options)
    try:
        return pipeline.detect(np.full((height, width, 3), colour, dtype=np.uint8))
    finally:
        pipeline.close()


@pytest.mark.parametrize(
    ("layout", "boxes", "scores", "labels"),
    [
        ("yolox", [[0, 32, 32, 64], [20, 2, 36, 34]], [0.8, 0.45], [0, 1]),
        # The centre is (2 * 16 + 7.5, 16 + 7.5); sides are 16, 8, 24 and 16 px away.
        ("nanodet", [[23.5, 15.5, 63.5, 39.5]], [0.7], [1]),
        # The second box of class 0 falls to NMS, that of class 1 does not.
        ("anchor_free", [[24, 20, 40, 28], [24, 20, 40, 28]], [0.9, 0.5], [0, 1]),
        ("end_to_end", [[30, 40, 64, 60], [2, 4, 20, 30]], [0.8, 0.4], [1, 0]),
        # Centre (1.5, 1.75) cells, 32 px wide and 16 high; 0.5 ** 0.6 * 0.9 ** 0.4 and 0.1 ** 0.4.
        ("fastestdet", [[8, 20, 40, 36], [8, 20, 40, 36]], [0.63252, 0.26265], [1, 0]),
    ],
)
def test_a_layout_is_decoded_as_worked_out_by_hand(imported, layout, boxes, scores, labels):
    found = detect(imported(constant_graph(OUTPUTS[layout]()), layout))
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    assert found.labels.tolist() == labels


def test_the_transposed_form_of_anchor_free_gives_the_same(imported):
    outputs = {name: values.transpose(0, 2, 1) for name, values in anchor_free_outputs().items()}
    path = imported(constant_graph(outputs), "anchor_free")
    assert read_manifest(path).options == {"transposed": True}
    np.testing.assert_allclose(detect(path).boxes, [[24, 20, 40, 28], [24, 20, 40, 28]], atol=1e-3)


def test_boxes_come_back_in_pixels_of_the_image(imported):
    path = imported(constant_graph(anchor_free_outputs()), "anchor_free")
    # A letterbox of 256 x 128 is scaled by a quarter and lies at the top.
    np.testing.assert_allclose(detect(path, width=256, height=128).boxes[0], [96, 80, 160, 112], atol=1e-3)
    stretched = imported(constant_graph(anchor_free_outputs()), "anchor_free", resize="stretch")
    np.testing.assert_allclose(detect(stretched, width=256, height=128).boxes[0], [96, 40, 160, 56], atol=1e-3)


@pytest.mark.parametrize(("order", "colour"), [("rgb", (204, 0, 0)), ("bgr", (0, 0, 204))])
def test_the_first_channel_of_the_input_is_the_one_that_the_order_names(imported, order, colour):
    path = imported(redness_graph(), "anchor_free", classes=("red",), channel_order=order)
    assert detect(path, colour=colour).scores.tolist() == pytest.approx([0.8], abs=1e-4)
    assert detect(path, colour=colour[::-1]).scores.tolist() == []


def test_mean_and_std_apply_in_the_order_of_the_channels(imported):
    changes = {"mean": (0.3, 0.9, 0.9), "std": (0.5, 1.0, 1.0)}
    path = imported(redness_graph(), "anchor_free", classes=("red",), channel_order="bgr", **changes)
    assert detect(path, colour=(0, 0, 153)).scores.tolist() == pytest.approx([(0.6 - 0.3) / 0.5], abs=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_manifest_takes_the_layouts_defaults_and_what_was_told_goes_before_them(imported, layout):
    entry = LAYOUTS[layout]
    manifest = read_manifest(imported(constant_graph(OUTPUTS[layout]()), layout))
    policy = manifest.input
    assert (policy.resize, policy.channel_order, policy.mean, policy.std) == (entry.resize, entry.channel_order, entry.mean, entry.std)
    assert manifest.postprocessing.nms_thresh == (1.0 if entry.nms_thresh is None else entry.nms_thresh)
    assert manifest.nms_in_graph is (entry.nms_thresh is None)
    told = {"resize": "stretch", "channel_order": "rgb", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
    policy = read_manifest(imported(constant_graph(OUTPUTS[layout]()), layout, **told)).input
    assert {name: getattr(policy, name) for name in told} == told


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "fastestdet"])
def test_an_adapter_of_a_finished_file_can_neither_be_built_nor_trained(imported, layout):
    adapter = adapter_from_manifest(read_manifest(imported(constant_graph(OUTPUTS[layout]()), layout)))
    assert (adapter.name, adapter.classes) == ("given", ("crop", "weed"))
    for attempt in (adapter.build, lambda: adapter.loss(None, None, ()), lambda: adapter.export_module(None)):
        with pytest.raises(InvalidInput, match="given was imported as a finished file, so it cannot be"):
            attempt()
    with pytest.raises(InvalidInput, match="finished file"):
        DetectionPipeline(imported(constant_graph(OUTPUTS[layout]()), layout), backend="null")


def test_nms_and_score_thresholds_are_those_of_the_manifest_and_the_call(imported):
    path = imported(constant_graph(anchor_free_outputs()), "anchor_free", nms_thresh=1.0)
    assert len(detect(path).scores) == 3
    assert detect(path, score_thresh=0.55).scores.tolist() == pytest.approx([0.9, 0.6])
    assert len(detect(path, max_det=1).scores) == 1


def test_nanodet_levels_are_found_in_any_order_and_where_classes_and_bins_are_as_many(imported):
    outputs = nanodet_outputs()
    shuffled = {name: outputs[name] for name in sorted(outputs, reverse=True)}
    names, _ = fit_outputs("nanodet", shuffled, classes=2, policy=POLICY)
    assert names == ("cls_8", "cls_16", "cls_32", "dis_8", "dis_16", "dis_32")
    as_many = {name: np.zeros((*values.shape[:2], 32), dtype=np.float32) for name, values in outputs.items()}
    assert fit_outputs("nanodet", as_many, classes=32, policy=POLICY)[0] == names


def test_other_outputs_of_a_file_do_no_harm():
    extra = {"features": np.full((1, 8, 4, 4), np.nan, dtype=np.float32)}
    for layout, outputs in OUTPUTS.items():
        names, _ = fit_outputs(layout, extra | outputs(), classes=2, policy=POLICY)
        assert set(names) == set(outputs())


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("yolox", "one output [1, 84, 8], and the file gives output [1, 84, 7]; these outputs are of 2 classes"),
        ("nanodet", "[1, 64, 3] with [1, 64, 4 x bins] and [1, 16, 3] with"),
        ("anchor_free", "one output [1, 7, places] or [1, places, 7], and the file gives output0 [1, 6, 4]"),
        ("fastestdet", "one output [1, 8, 4, 4], and the file gives 758 [1, 7, 4, 4]; these outputs are of 2 classes"),
    ],
)
def test_a_wrong_number_of_classes_is_told_with_both_shapes(layout, expected):
    with pytest.raises(InvalidInput) as refusal:
        fit_outputs(layout, OUTPUTS[layout](), classes=3, policy=POLICY)
    assert f"layout {layout} with 3 classes at 64x64 px needs" in str(refusal.value)
    assert expected in str(refusal.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_of_another_layout_are_refused(layout):
    other = {"logits": np.zeros((1, 1000), dtype=np.float32)}
    with pytest.raises(InvalidInput, match=r"and the file gives logits \[1, 1000\]; choose another layout"):
        fit_outputs(layout, other, classes=2, policy=POLICY)


@pytest.mark.parametrize(
    ("layout", "place", "value", "words"),
    [
        ("yolox", ("output", (0, 5, 6)), 3.5, "the scores in output output run from 0 to 3.5"),
        ("nanodet", ("cls_16", (0, 0, 0)), -2.0, "the scores in output cls_16 run from -2"),
        ("anchor_free", ("output0", (0, 4, 3)), 7.0, "export the model with its last sigmoid or softmax"),
        ("end_to_end", ("detections", (0, 1, 4)), 2.0, "the scores in output detections"),
        ("end_to_end", ("detections", (0, 1, 5)), 2.0, "names class 2 in its last column, and 2 classes were given"),
        ("end_to_end", ("detections", (0, 1, 5)), 0.5, "names class 0.5"),
        ("fastestdet", ("758", (0, 6, 0, 0)), -4.0, "the scores in output 758 run from -4"),
        ("yolox", ("output", (0, 5, 1)), np.nan, "not finite"),
    ],
)
def test_values_that_are_not_what_the_layout_says_are_refused(layout, place, value, words):
    outputs, (name, index) = OUTPUTS[layout](), place
    outputs[name][index] = value
    with pytest.raises(InvalidInput, match=words):
        fit_outputs(layout, outputs, classes=2, policy=POLICY)


def test_boxes_in_parts_of_the_image_are_not_taken_for_pixels():
    outputs = anchor_free_outputs()
    outputs["output0"][0, :4] /= SIDE
    with pytest.raises(InvalidInput, match="tells boxes in parts of the image"):
        fit_outputs("anchor_free", outputs, classes=2, policy=POLICY)


def test_finished_detections_in_parts_of_the_image_are_not_taken_for_pixels():
    outputs = end_to_end_outputs()
    outputs["detections"][0, :, :4] /= SIDE
    with pytest.raises(InvalidInput, match="tells boxes in parts of the image; layout end_to_end wants input pixels"):
        fit_outputs("end_to_end", outputs, classes=2, policy=POLICY)


def test_a_file_that_finds_nothing_on_the_generated_picture_tells_no_boxes_in_parts_of_it():
    outputs = end_to_end_outputs()
    outputs["detections"][0, :, :4] = 0
    fit_outputs("end_to_end", outputs, classes=2, policy=POLICY)
    fit_outputs("end_to_end", {"detections": np.zeros((1, 0, 6), dtype=np.float32)}, classes=2, policy=POLICY)


def test_yolox_that_was_exported_with_its_decoding_is_refused_with_the_remedy():
    outputs = yolox_outputs()
    adapter = YoloxAdapter(name="y", classes=("a", "b"), input=POLICY)
    raw = torch.from_numpy(outputs["output"])
    _, decode = adapter.read((raw[0],))
    boxes = decode(torch.arange(raw.shape[1]))
    outputs["output"][0, :, :2] = ((boxes[:, :2] + boxes[:, 2:]) / 2).numpy()
    outputs["output"][0, :, 2:4] = (boxes[:, 2:] - boxes[:, :2]).numpy()
    with pytest.raises(InvalidInput, match=r"tells finished boxes, .*; export the model again without --decode_in_inference"):
        fit_outputs("yolox", outputs, classes=2, policy=POLICY)


def test_yolox_with_a_few_wild_places_is_taken():
    outputs = yolox_outputs()
    outputs["output"][0, :40, 2:4] = -30.0
    fit_outputs("yolox", outputs, classes=2, policy=POLICY)


def test_only_finished_detections_are_called_a_set(imported):
    stages = {layout: read_manifest(imported(constant_graph(OUTPUTS[layout]()), layout)).stages for layout in OUTPUTS}
    assert stages == dict.fromkeys(OUTPUTS, "one") | {"end_to_end": "set"}
