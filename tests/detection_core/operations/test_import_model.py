"""Import of a model as a job: what it writes, and what it says no to before anything of the file is trusted."""

from __future__ import annotations

import json
import os
import pickle
import zipfile

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from detection_core.build import MANIFEST_KEY, build_adapter, load_checkpoint, read_manifest
from detection_core.export import foreign_graph
from detection_core.models.fastestdet import UPSTREAM_NAMES, from_upstream
from detection_core.operations import evaluate, export, import_model, train
from detection_core.operations.context import file_sha256
from detection_core.operations.import_model import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import ImportModelResult
from detection_core.schemas.specs import EvaluateSpec, ExportSpec, ImportModelSpec, TrainSpec
from tests.detection_core.foreign_graphs import (
    SIDE,
    constant_graph,
    end_to_end_outputs,
    fastestdet_outputs,
    saved,
    yolox_outputs,
)
from tests.detection_core.tiny import CLASSES, write_yolo


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def spec_of(path, **changes):
    given = {"file": InputFile(ref=str(path)), "layout": "yolox", "name": "given", "classes": CLASSES}
    return ImportModelSpec(**given | changes)


def import_graph(model, job, path, **changes):
    return run(spec_of(saved(model, path / "given.onnx"), **changes), job)


def refusal(model, job, path, **changes):
    with pytest.raises(InvalidInput) as caught:
        import_graph(model, job, path, **changes)
    assert not list(job.out.glob("model*")), "a refused file leaves nothing"
    return str(caught.value)


def upstream_weights(classes=CLASSES, side=128):
    """Random weights of FastestDet under the names of the project's .pth."""
    torch.manual_seed(0)
    tensors = build_adapter("fastestdet", classes=classes, input_size=side).build().state_dict()
    ours = {our: their for their, our in UPSTREAM_NAMES.items()}
    return {next(theirs + name.removeprefix(our) for our, theirs in ours.items() if name.startswith(our)): v for name, v in tensors.items()}


@pytest.fixture
def weights(tmp_path):
    torch.save(upstream_weights(), tmp_path / "given.pth")
    return spec_of(tmp_path / "given.pth", layout="fastestdet", input_height=128, input_width=128)


def test_the_result_names_the_file_its_source_and_what_it_gave(job, tmp_path):
    result = import_graph(constant_graph(yolox_outputs()), job, tmp_path, licence="Apache-2.0")
    assert ImportModelResult.parse(result.to_json()) == result
    (file,) = result.files
    assert (file.role, file.path, file.sha256) == ("exported_model", "model.onnx", file_sha256(job.out / "model.onnx"))
    assert result.source_sha256 == result.manifest.parent_sha256 == file_sha256(tmp_path / "given.onnx")
    assert result.outputs == {"output": (1, 84, 7)}
    manifest = read_manifest(job.out / "model.onnx")
    assert manifest == result.manifest
    assert (manifest.model, manifest.family, manifest.format, manifest.dtype) == ("given", "yolox", "onnx", "fp32")
    assert (manifest.licence, manifest.classes) == ("Apache-2.0", CLASSES)
    assert manifest.params_m == pytest.approx(84 * 7 / 1e6)


def test_the_graph_stays_as_it_is_and_so_does_other_metadata(job, tmp_path):
    model = constant_graph(yolox_outputs())
    helper.set_model_props(model, {"author": "somebody"})
    import_graph(model, job, tmp_path)
    written = onnx.load(str(job.out / "model.onnx"))
    assert {entry.key for entry in written.metadata_props} == {"author", MANIFEST_KEY}
    assert written.graph == model.graph
    first = (job.out / "model.onnx").read_bytes()
    import_graph(model, job, tmp_path)
    assert (job.out / "model.onnx").read_bytes() == first


def test_classes_get_the_names_that_data_sets_use(job, tmp_path):
    changes = {"classes": ("beet", "thistle"), "class_map": {"beet": "crop", "thistle": "weed"}}
    assert import_graph(constant_graph(yolox_outputs()), job, tmp_path, **changes).manifest.classes == CLASSES


def test_an_imported_file_is_evaluated_like_any_other(job, tmp_path):
    import_graph(constant_graph(yolox_outputs()), job, tmp_path)
    dataset = InputFile(ref=str(write_yolo(tmp_path)))
    spec = EvaluateSpec(artifact=InputFile(ref=str(job.out / "model.onnx")), backend="onnxruntime", dataset=dataset)
    result = evaluate.run(spec, job)
    assert (result.images, result.detections, result.manifest.family) == (3, 6, "yolox")


def test_a_graph_that_leaves_its_size_open_takes_the_size_that_is_told(job, tmp_path):
    model = constant_graph(yolox_outputs(), shape=(None, 3, "height", "width"))
    assert "leaves the height of its input open; give input_height" in refusal(model, job, tmp_path)
    policy = import_graph(model, job, tmp_path, input_height=SIDE, input_width=SIDE).manifest.input
    assert (policy.height, policy.width) == (SIDE, SIDE)


def test_quantised_and_half_precision_graphs_are_told_from_their_operators_and_weights():
    model = constant_graph(yolox_outputs())
    assert foreign_graph.graph_dtype(model) == "fp32"
    model.graph.node.append(helper.make_node("QuantizeLinear", ["a", "b", "c"], ["d"]))
    assert foreign_graph.graph_dtype(model) == "int8"
    half = helper.make_graph([], "g", [], [], [helper.make_tensor("w", TensorProto.FLOAT16, [8], [0.0] * 8)])
    assert foreign_graph.graph_dtype(helper.make_model(half)) == "fp16"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_map": {"beet": "crop"}}, "class_map renames beet, which the file's classes do not name"),
        ({"class_map": {"crop": "weed"}}, "more than one class would be called weed"),
        ({"classes": ("crop", " ")}, "a class has no name"),
        ({"name": "fcos_resnet10_fpn"}, "fcos_resnet10_fpn is a detector of the catalogue"),
        ({"name": "fastestdet"}, "fastestdet is a detector of the catalogue"),
        ({"classes": ("a", "b", "c")}, "these outputs are of 2 classes: give their names"),
        ({"layout": "anchor_free"}, "layout anchor_free with 2 classes at 64x64 px needs one output"),
        ({"input_height": 96}, "input_height is 96 and the height of the input in given.onnx is 64"),
        ({"std": (1.0, 0.0, 1.0)}, "std has a 0"),
        ({"file": InputFile(ref="/nowhere/at-all.onnx")}, "there is no file /nowhere/at-all.onnx"),
    ],
)
def test_what_does_not_fit_the_file_is_told_in_a_sentence(job, tmp_path, changes, words):
    assert words in refusal(constant_graph(yolox_outputs()), job, tmp_path, **changes)


def test_a_layout_without_nms_takes_no_threshold_of_it(job, tmp_path):
    model = constant_graph(end_to_end_outputs())
    assert "no NMS follows layout end_to_end" in refusal(model, job, tmp_path, layout="end_to_end", nms_thresh=0.5)


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ((1, SIDE, SIDE, 3), TensorProto.FLOAT, "is [1, 64, 64, 3]; export the model for one image with channels first"),
        ((4, 3, SIDE, SIDE), TensorProto.FLOAT, "is [4, 3, 64, 64]; export the model for one image"),
        ((3, SIDE, SIDE), TensorProto.FLOAT, "is [3, 64, 64]; export the model for one image"),
        ((1, 3, SIDE, SIDE), TensorProto.UINT8, "is uint8 [1, 3, 64, 64]; export the model with a float32 input"),
        ((1, 3, 16, 16), TensorProto.FLOAT, "height"),
    ],
)
def test_an_input_that_is_not_one_image_is_refused(job, tmp_path, shape, kind, words):
    assert words in refusal(constant_graph(yolox_outputs(), shape=shape, kind=kind), job, tmp_path)


def with_second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.FLOAT, [1, 2]))


def with_weights_outside(model):
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_weights_outside_in_an_attribute(model):
    constant = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    with_outside = onnx.TensorProto()
    with_outside.CopyFrom(constant)
    with_outside.ClearField("float_data")
    with_outside.data_location = TensorProto.EXTERNAL
    with_outside.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=with_outside))


def with_own_operator(model):
    model.opset_import.add(domain="com.example", version=1)
    model.graph.node.append(helper.make_node("Launch", ["images"], ["unused"], domain="com.example"))


def with_own_operator_in_a_branch(model):
    inner = helper.make_node("Launch", ["images"], ["inside"], domain="com.example")
    branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)])
    model.opset_import.add(domain="com.example", version=1)
    model.graph.node.append(helper.make_node("If", ["zero"], ["unused"], then_branch=branch, else_branch=branch))


def with_unknown_standard_operator(model):
    model.graph.node.append(helper.make_node("DetectEverything", ["images"], ["unused"]))


def with_shapes_that_do_not_fit(model):
    model.graph.node.insert(0, helper.make_node("Reshape", ["images", "impossible"], ["unused"]))
    model.graph.initializer.append(helper.make_tensor("impossible", TensorProto.INT64, [1], [7]))
    model.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [7]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_second_input, "takes 2 inputs (images, sizes)"),
        (with_weights_outside, "keeps weights in another file"),
        (with_weights_outside_in_an_attribute, "keeps weights in another file"),
        (with_own_operator, "uses Launch of com.example, which is no operator of the ONNX standard"),
        (with_own_operator_in_a_branch, "uses Launch of com.example"),
        (with_unknown_standard_operator, "is not valid ONNX"),
        (with_shapes_that_do_not_fit, "cannot be run by ONNX Runtime"),
    ],
)
def test_a_graph_that_is_not_whole_in_itself_or_cannot_run_is_refused(job, tmp_path, change, words):
    model = constant_graph(yolox_outputs())
    change(model)
    message = refusal(model, job, tmp_path)
    assert words in message and "; " in message and "\n" not in message


@pytest.mark.parametrize("content", [b"", b"hello, I am no model", b"\x08\x08", json.dumps({"a": 1}).encode()])
def test_what_is_no_onnx_file_is_refused(job, tmp_path, content):
    (tmp_path / "given.onnx").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"given\.onnx (is not an ONNX file|holds no ONNX graph); export the model"):
        run(spec_of(tmp_path / "given.onnx"), job)


def test_a_file_over_the_limit_is_not_even_read(job, tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_graph, "MAX_BYTES", 1000)
    assert "a model file may have" in refusal(constant_graph(yolox_outputs()), job, tmp_path)


@pytest.mark.parametrize("layout", ["yolox", "fastestdet"])
@pytest.mark.parametrize("form", ["plain", "zip", "zip with weights", "legacy"])
@pytest.mark.parametrize("name", ["given.pth", "given.onnx"])
def test_a_pickle_of_code_is_refused_and_none_of_it_runs(job, tmp_path, layout, form, name):
    trap = Trap(tmp_path / "sprung")
    if form == "plain":
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    else:
        content = upstream_weights() | {"extra": trap} if form == "zip with weights" else trap
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(InvalidInput, match=r"is a pickle .*any code"):
        run(spec_of(tmp_path / name, layout=layout), job)
    assert not (tmp_path / "sprung").exists()
    assert not list(job.out.glob("model*"))
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "sprung").exists(), "the trap itself works"


@pytest.mark.parametrize("content", [{"weight": [1, 2]}, [1.0], {}, torch.zeros(3), {1: torch.zeros(1)}])
def test_weights_that_are_not_named_tensors_are_refused(job, tmp_path, content):
    torch.save(content, tmp_path / "given.pth")
    with pytest.raises(InvalidInput, match="more than named tensors"):
        run(spec_of(tmp_path / "given.pth", layout="fastestdet"), job)


def test_a_zip_that_is_no_torch_file_or_far_too_large_is_refused(job, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "given.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    with pytest.raises(InvalidInput, match="more than named tensors"):
        run(spec_of(tmp_path / "given.pth", layout="fastestdet"), job)
    monkeypatch.setattr(import_model, "MAX_WEIGHTS_BYTES", 10)
    torch.save(upstream_weights(), tmp_path / "given.pth")
    with pytest.raises(InvalidInput, match="weights of FastestDet are a few"):
        run(spec_of(tmp_path / "given.pth", layout="fastestdet"), job)


def test_weights_of_fastestdet_become_a_checkpoint_under_a_name_of_its_own(job, weights):
    result = run(weights, job)
    (file,) = result.files
    assert (file.role, file.path) == ("checkpoint_best", "model.safetensors")
    assert result.outputs == {"predictions": (1, 7, 8, 8)}
    adapter, model, manifest = load_checkpoint(job.out / "model.safetensors")
    assert manifest == result.manifest
    assert (manifest.model, manifest.family, manifest.licence, adapter.name) == ("given", "fastestdet", "not told", "given")
    assert manifest.params_m == pytest.approx(sum(parameter.numel() for parameter in model.parameters()) / 1e6, abs=1e-6)
    given = upstream_weights()
    for theirs, ours in (("backbone.stage3.2.branch_main.5.weight", "backbone.stages.1.2.branch_main.5.weight"),):
        assert torch.equal(model.state_dict()[ours], given[theirs])


def test_weights_of_half_precision_become_a_checkpoint_of_full_precision(job, tmp_path, weights):
    torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in upstream_weights().items()}, weights.file.ref
    )
    run(weights, job)
    _, model, manifest = load_checkpoint(job.out / "model.safetensors")
    assert manifest.dtype == "fp32" and {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_graph_of_fastestdet_and_its_checkpoint_are_one_family(job, tmp_path):
    result = import_graph(constant_graph(fastestdet_outputs()), job, tmp_path, layout="fastestdet", name="fastestdet")
    assert (result.manifest.model, result.manifest.family, result.manifest.outputs) == ("fastestdet", "fastestdet", ("758",))


def test_imported_weights_are_evaluated_and_exported_like_trained_ones(job, weights, tmp_path):
    run(weights, job)
    checkpoint = InputFile(ref=str(job.out / "model.safetensors"))
    result = export.run(ExportSpec(checkpoint=checkpoint), job)
    assert result.max_abs_difference < 1e-3
    assert (result.manifest.model, result.manifest.family) == ("given", "fastestdet")
    dataset = InputFile(ref=str(write_yolo(tmp_path)))
    found = [
        evaluate.run(EvaluateSpec(artifact=InputFile(ref=str(job.out / name)), backend=backend, dataset=dataset), job)
        for name, backend in (("model.safetensors", "eager"), ("model.onnx", "onnxruntime"))
    ]
    assert found[0].detections == found[1].detections > 0


def test_a_training_starts_from_imported_weights_and_makes_the_head_for_other_classes_anew(job, tmp_path):
    torch.save(upstream_weights(classes=("a", "b", "c"), side=64), tmp_path / "given.pth")
    changes = {"layout": "fastestdet", "classes": ("a", "b", "c"), "input_height": 64, "input_width": 64}
    run(spec_of(tmp_path / "given.pth", **changes), job)
    weights, data = InputFile(ref=str(job.out / "model.safetensors")), InputFile(ref=str(write_yolo(tmp_path, splits=("train", "val"))))
    # So small a step that what was taken over stays as it was.
    recipe = Recipe(epochs=1, batch_size=3, input_size=64, lr=1e-9, weight_decay=0)
    result = train.run(TrainSpec(model="fastestdet", dataset=data, recipe=recipe, weights=weights), job)
    assert (result.manifest.model, result.manifest.classes) == ("fastestdet", CLASSES)
    _, trained, _ = load_checkpoint(job.out / result.last.path)
    given = from_upstream(upstream_weights(classes=("a", "b", "c"), side=64))
    convolutions = {name: tensor for name, tensor in trained.state_dict().items() if tensor.ndim == 4}
    kept = {name for name, tensor in convolutions.items() if tensor.shape == given[name].shape and torch.allclose(tensor, given[name])}
    assert set(convolutions) - kept == {"head.classes.3.weight"}
    (warning,) = [line for line in (job.out / "events.jsonl").read_text().splitlines() if "begin at random" in line]
    assert "head.classes.3.weight, head.classes.4.weight" in warning


@pytest.mark.parametrize(
    ("change", "changes", "words"),
    [
        (lambda tensors: None, {"classes": ("a", "b", "c")}, "are of 2 classes, and 3 were given"),
        (lambda tensors: tensors.pop("SPP.S1.0.weight"), {}, "they lack neck.branches.0.0.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), {}, "they hold extra, which FastestDet has not"),
        (lambda tensors: tensors.update({"SPP.S1.0.weight": torch.zeros(2)}), {}, "neck.branches.0.0.weight is [2] where [96, 1, 5, 5]"),
        (lambda tensors: tensors.update({"SPP.S1.0.weight": torch.full((96, 1, 5, 5), torch.nan)}), {}, "finite"),
        (
            lambda tensors: tensors.update({"SPP.S1.0.weight": torch.zeros(1).expand(96, 1, 5, 5)}),
            {},
            "is no plain tensor with a number for",
        ),
        (lambda tensors: tensors.update({"SPP.S1.0.weight": torch.zeros(96, 1, 5, 5).to_sparse()}), {}, "is no plain tensor with a number"),
        (
            lambda tensors: tensors.update({"SPP.S1.0.weight": torch.zeros(1).half().expand(1 << 40)}),
            {},
            "is [1099511627776] where [96, 1,",
        ),
        (lambda tensors: tensors.update(extra=torch.zeros(1).half().expand(1 << 40)), {}, "they hold extra, which FastestDet has not"),
        (lambda tensors: None, {"input_height": 100}, "sides are multiples of 32"),
    ],
)
def test_weights_that_are_not_fastestdets_are_refused_by_name(job, tmp_path, change, changes, words):
    tensors = upstream_weights()
    change(tensors)
    torch.save(tensors, tmp_path / "given.pth")
    with pytest.raises(InvalidInput) as caught:
        run(spec_of(tmp_path / "given.pth", **{"layout": "fastestdet", "input_height": 128, "input_width": 128} | changes), job)
    assert words in str(caught.value)
