"""The manifest inside every checkpoint and exported model: all that is needed to run its bytes the one right way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detection_core.schemas.base import Schema

# The `nms_thresh` of a model that no NMS follows, since it stands in the graph or is not needed: no overlap is larger.
NO_NMS = 1.0
DType = Literal["fp32", "fp16", "bf16", "int8"]
Stages = Literal["one", "two", "set"]


class InputPolicy(Schema):
    """How an image becomes the network's input.

    `letterbox` keeps the aspect ratio and pads bottom and right with `pad_value`; `stretch` resizes both sides freely.
    `mean` and `std` apply to values in 0..1, in the order of `channel_order`.
    """

    height: Annotated[int, Field(ge=32, le=2048)]
    width: Annotated[int, Field(ge=32, le=2048)]
    resize: Literal["letterbox", "stretch"] = "letterbox"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    channel_order: Literal["rgb", "bgr"] = "rgb"


class Postprocessing(Schema):
    """Thresholds of decode and NMS; `nms_thresh` is NO_NMS where no NMS follows. `score_thresh` 0.001 is the protocol of AP."""

    score_thresh: Annotated[float, Field(ge=0, le=1)] = 0.001
    nms_thresh: Annotated[float, Field(ge=0, le=1)] = 0.6
    max_det: Annotated[int, Field(ge=1, le=1000)] = 100
    pre_nms_topk: Annotated[int, Field(ge=1, le=100_000)] = 1000


class Manifest(Schema):
    """What a model file is. It holds no time and no path, so equal models have equal bytes."""

    schema_version: Literal[1] = 1
    format: Literal["safetensors", "onnx"]
    model: str
    family: str
    stages: Stages
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    input: InputPolicy
    dtype: DType = "fp32"
    outputs: tuple[str, ...]
    nms_in_graph: bool
    postprocessing: Postprocessing = Postprocessing()
    options: dict[str, Any] = {}
    licence: str
    params_m: float
    macs_g: float | None = None
    parent_sha256: str | None = None
    dataset_sha256: str | None = None
