"""Hand-made ONNX files as they come from elsewhere: a graph that answers every image with the same outputs, and what a test changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
# Cells of the strides 8, 16 and 32 on SIDE pixels.
CELLS = (64, 16, 4)
NEVER = -50.0  # a logit whose softmax is nothing


def constant_graph(outputs: dict[str, np.ndarray], *, shape=(1, 3, SIDE, SIDE), kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Return a model of one input `images` whose outputs are these arrays, whatever the image."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.float32(0), "zero")]
    values = []
    for name, array in outputs.items():
        constants.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_constant"))
        nodes.append(helper.make_node("Add", [f"{name}_constant", "nothing"], [name]))
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    graph = helper.make_graph(nodes, "constant", [helper.make_tensor_value_info("images", kind, shape)], values, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def redness_graph() -> onnx.ModelProto:
    """Return an anchor-free model of one class and one box whose score is the mean of the first channel of its input."""
    nodes = [
        helper.make_node("Gather", ["images", "first"], ["channel"], axis=1),
        helper.make_node("ReduceMean", ["channel"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "place"], ["score"]),
        helper.make_node("Concat", ["box", "score"], ["output"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.array([1, 1, 1], dtype=np.int64), "place"),
        numpy_helper.from_array(np.array([32, 32, 16, 16], dtype=np.float32).reshape(1, 4, 1), "box"),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    value = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 5, 1])
    graph = helper.make_graph(nodes, "redness", [image], [value], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model as it is, without a check."""
    path.write_bytes(model.SerializeToString())
    return path


def yolox_outputs(classes: int = 2) -> dict[str, np.ndarray]:
    """Two objects: one of stride 8 with its centre in column 3, row 2, one of stride 32 in column 0, row 1."""
    output = np.zeros((1, sum(CELLS), 5 + classes), dtype=np.float32)
    output[0, 2 * 8 + 3] = [0.5, 0.25, np.log(2), np.log(4), 0.9, 0.0, 0.5][: 5 + classes]
    output[0, 64 + 16 + 1 * 2 + 0] = [0.5, 0.5, 0, 0, 1.0, 0.8, 0.0][: 5 + classes]
    return {"output": output}


def nanodet_outputs(bins: int = 8) -> dict[str, np.ndarray]:
    """One object of stride 16 in column 2, row 1, its sides 1, half, 1.5 and 1 strides away. Levels in the order of their export."""
    scores = {stride: np.zeros((1, cells, 2), dtype=np.float32) for stride, cells in zip((8, 16, 32), CELLS, strict=True)}
    distances = {stride: np.zeros((1, cells, 4 * bins), dtype=np.float32) for stride, cells in zip((8, 16, 32), CELLS, strict=True)}
    scores[16][0, 1 * 4 + 2] = [0.0, 0.7]
    logits = np.full((4, bins), NEVER, dtype=np.float32)
    logits[0, 1] = 0  # left: 1
    logits[1, [0, 1]] = 0  # top: as likely 0 as 1
    logits[2, [1, 2]] = 0  # right: as likely 1 as 2
    logits[3, 1] = 0  # bottom: 1
    distances[16][0, 1 * 4 + 2] = logits.reshape(-1)
    return {f"cls_{stride}": array for stride, array in scores.items()} | {f"dis_{stride}": array for stride, array in distances.items()}


def anchor_free_outputs() -> dict[str, np.ndarray]:
    """Four places: two overlapping boxes of class 0, the same box of class 1, and nothing."""
    places = [
        [32, 24, 16, 8, 0.9, 0.0],
        [33, 24, 16, 8, 0.6, 0.0],
        [32, 24, 16, 8, 0.0, 0.5],
        [10, 10, 4, 4, 0.0, 0.0],
    ]
    return {"output0": np.array(places, dtype=np.float32).T[None]}


def end_to_end_outputs() -> dict[str, np.ndarray]:
    """Two finished detections in no order, over the border, and a filling row."""
    rows = [[2, 4, 20, 30, 0.4, 0], [30, 40, 70, 60, 0.8, 1], [0, 0, 0, 0, 0, -1]]
    return {"detections": np.array([rows], dtype=np.float32)}


def fastestdet_outputs() -> dict[str, np.ndarray]:
    """One object in column 1, row 2 of the grid of stride 16: half a cell further right, a quarter up, half the input wide."""
    output = np.full((1, 7, SIDE // 16, SIDE // 16), NEVER, dtype=np.float32)
    output[0, [0, 5, 6]] = 0.0
    output[0, :, 2, 1] = [0.5, np.arctanh(0.5), np.arctanh(-0.25), 0.0, np.log(0.25 / 0.75), 0.1, 0.9]
    return {"758": output}
