"""A checkpoint's network as an ONNX file that carries its manifest."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from detection_core.build import MANIFEST_KEY
from detection_core.export.parity import generated_batches
from detection_core.models.adapter import DetectorAdapter
from detection_core.schemas.manifest import Manifest

OPSET = 17
INPUT_NAME = "images"
PRODUCER = "paretobox"
OUTPUT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)


def onnx_manifest(checkpoint: Manifest, *, parent_sha256: str) -> Manifest:
    """Return the manifest of an ONNX file made from a checkpoint whose bytes have the hash `parent_sha256`."""
    return Manifest.parse(checkpoint.to_dict() | {"format": "onnx", "parent_sha256": parent_sha256})


def export_onnx(adapter: DetectorAdapter, model: nn.Module, manifest: Manifest, path: Path) -> None:
    """Write `model` as ONNX, opset 17, by rename; equal weights and manifest give equal bytes.

    The graph takes `images` float32 [1, 3, manifest.input.height, manifest.input.width] and returns `adapter.output_names`:
    raw heads, without NMS unless `manifest.nms_in_graph`. The manifest stands in `metadata_props` under "paretobox_manifest".

    The TorchScript exporter is used for all families: it is the one that can export a two-stage graph, and the faster one.

    Raises:
        RuntimeError: the graph is not valid, or an output is neither float32 nor int64.
    """
    graph = _checked(onnx.load_from_string(_traced(adapter, model, manifest)))
    graph.producer_name, graph.producer_version, graph.doc_string = PRODUCER, "", ""
    for node in graph.graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(graph, {MANIFEST_KEY: manifest.model_dump_json()})
    part = path.with_name(path.name + ".part")
    part.write_bytes(graph.SerializeToString(deterministic=True))
    part.replace(path)


def _traced(adapter: DetectorAdapter, model: nn.Module, manifest: Manifest) -> bytes:
    # Tracing follows one input through the graph. A picture with things in it makes a second stage run on real proposals.
    example = torch.from_numpy(generated_batches(manifest.input, count=1)[0])
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        traced = Path(folder) / "traced.onnx"
        warnings.simplefilter("ignore")  # the tracer warns of every shape it takes as constant, and shapes are constant here
        torch.onnx.export(
            adapter.export_module(model),
            (example,),
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(adapter.output_names),
        )
        return traced.read_bytes()


def _checked(graph: onnx.ModelProto) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise RuntimeError(f"the exported graph is not valid ONNX: {error}") from error
    for output in graph.graph.output:
        if output.type.tensor_type.elem_type not in OUTPUT_TYPES:
            name = onnx.TensorProto.DataType.Name(output.type.tensor_type.elem_type)
            raise RuntimeError(f"output {output.name} of the exported graph is {name}; it must be FLOAT or INT64")
    return graph
