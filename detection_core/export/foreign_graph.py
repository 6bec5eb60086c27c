"""An ONNX file from elsewhere: what it must be before it is run, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import DType

MAX_BYTES = 512 << 20
# Operators of the standard itself; all else would need code that is not in the file.
STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
INTEGER_OPERATORS = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul"}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
RUNTIME_ERRORS = tuple(
    getattr(runtime, name)
    for name in ("Fail", "InvalidGraph", "InvalidProtobuf", "InvalidArgument", "NotImplemented", "RuntimeException", "EPFail")
)
Kind = TypeVar("Kind", bound=Message)


@dataclass(frozen=True)
class ForeignGraph:
    """A checked graph: its model, and height and width of its image input in pixels, None where the graph leaves them open."""

    model: onnx.ModelProto
    height: int | None
    width: int | None


def read_graph(path: Path) -> ForeignGraph:
    """Read an ONNX file and check that it is one image in, whole in itself and of standard operators. Nothing is run.

    Raises:
        InvalidInput: it is too large, broken, needs further files or operators of its own, or takes another input.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InvalidInput(f"{path.name} has {size >> 20} MiB; a model file may have {MAX_BYTES >> 20} MiB, so export a smaller one")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InvalidInput(f"{path.name} is not an ONNX file; export the model as .onnx") from None
    if not model.graph.node:
        raise InvalidInput(f"{path.name} holds no ONNX graph; export the model as .onnx")
    _require_whole(model, path.name)
    _require_standard(model, path.name)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InvalidInput(f"{path.name} is not valid ONNX ({_first_line(error)}); export the model again") from None
    return _with_input(model, path.name)


def run_once(model: onnx.ModelProto, batch: np.ndarray, *, name: str, threads: int) -> dict[str, np.ndarray]:
    """Run a checked graph on one input, float32 [1, 3, height, width], with ONNX Runtime on the CPU.

    Returns:
        Its float32 outputs by name, in the graph's order.

    Raises:
        InvalidInput: the runtime cannot load or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(None, {session.get_inputs()[0].name: batch})
    except RUNTIME_ERRORS as error:
        raise InvalidInput(f"{name} cannot be run by ONNX Runtime ({_first_line(error)}); export the model again") from None
    outputs = {output.name: value for output, value in zip(session.get_outputs(), values, strict=True)}
    return {key: value for key, value in outputs.items() if isinstance(value, np.ndarray) and value.dtype == np.float32}


def parameters(model: onnx.ModelProto) -> int:
    """Count the numbers in the graph's floating-point and 8-bit tensors of one axis or more."""
    kinds = {*FLOATS, TensorProto.INT8, TensorProto.UINT8}
    return sum(int(np.prod(tensor.dims)) for tensor in _inside(model, TensorProto) if tensor.data_type in kinds and tensor.dims)


def graph_dtype(model: onnx.ModelProto) -> DType:
    """Say in what numbers the graph computes: int8 where it quantises, else that of most of its weights."""
    if any(node.op_type in INTEGER_OPERATORS for node in _inside(model, onnx.NodeProto)):
        return "int8"
    counts: dict[int, int] = dict.fromkeys(FLOATS, 0)
    for tensor in _inside(model, TensorProto):
        if tensor.data_type in counts:
            counts[tensor.data_type] += int(np.prod(tensor.dims))
    most = max(counts, key=lambda kind: counts[kind])
    names: dict[int, DType] = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
    return names.get(most, "fp32")


def _require_whole(model: onnx.ModelProto, name: str) -> None:
    for tensor in _inside(model, TensorProto):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise InvalidInput(f"{name} keeps weights in another file; save the model as one file with all its weights inside")


def _require_standard(model: onnx.ModelProto, name: str) -> None:
    """Functions that the file itself defines are standard operators once they are written out."""
    defined = {(function.domain, function.name) for function in model.functions}
    for node in _inside(model, onnx.NodeProto):
        if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in defined:
            raise InvalidInput(
                f"{name} uses {node.op_type} of {node.domain}, which is no operator of the ONNX standard; export the model without it"
            )


def _with_input(model: onnx.ModelProto, name: str) -> ForeignGraph:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InvalidInput(f"{name} takes {len(inputs)} inputs ({names}); export the model with the image as its only input")
    tensor = inputs[0].type.tensor_type
    sides = [dim.dim_value or None for dim in tensor.shape.dim]
    shown = "[" + ", ".join("open" if side is None else str(side) for side in sides) + "]"
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise InvalidInput(f"the input of {name} is {kind} {shown}; export the model with a float32 input")
    if len(sides) != 4 or sides[0] not in (1, None) or sides[1] not in (3, None):
        raise InvalidInput(f"the input of {name} is {shown}; export the model for one image with channels first, [1, 3, height, width]")
    return ForeignGraph(model, sides[2], sides[3])


def _inside(message: Message, kind: type[Kind]) -> Iterator[Kind]:
    """Every message of one kind anywhere in another: in subgraphs, attributes and functions too."""
    for _, value in message.ListFields():
        for child in (value,) if isinstance(value, Message) else value if _holds_messages(value) else ():
            if isinstance(child, kind):
                yield child
            yield from _inside(child, kind)


def _holds_messages(value: object) -> bool:
    return not isinstance(value, str | bytes | int | float) and len(value) > 0 and isinstance(value[0], Message)  # type: ignore[arg-type, index]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
