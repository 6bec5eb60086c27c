"""Adapters of files that were trained elsewhere: they know how to prepare an image and to read the outputs, and nothing of the network.

docs/models.md has the layouts in full. An adapter's raw outputs come in the order of the manifest's `outputs`, whose names are those
of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NoReturn, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from detection_core.models.adapter import Loss, Target
from detection_core.nn.postprocess import Decode, Detections, Limits, clip, select_batch, take_detections
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

# Of the grids of YOLOX and NanoDet.
STRIDES = (8, 16, 32)
# Boxes that all lie within this many pixels of the corner are told in parts of the image.
FRACTIONS_WITHIN = 2.0
# Offsets and logarithms of sizes of YOLOX are in cells: e to the tenth is wider than any image. Of finished boxes most places tell more.
RAW_WITHIN = 10.0

Outputs = Mapping[str, np.ndarray]
Fit = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class ForeignAdapter:
    """What all layouts share: there is a file to run, but no network to build, train or export."""

    name: str
    classes: tuple[str, ...]
    input: InputPolicy

    output_names: ClassVar[tuple[str, ...]] = ()
    nms_in_graph: ClassVar[bool] = False

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def build(self) -> nn.Module:
        self._refuse("built")

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        self._refuse("trained")

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        self._refuse("run without its file")

    def export_module(self, model: nn.Module) -> nn.Module:
        self._refuse("exported again")

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        self._refuse("counted")

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        self._refuse("trained")

    def _refuse(self, what: str) -> NoReturn:
        remedy = "run its file with the backend onnxruntime, or choose a detector of the catalogue"
        raise InvalidInput(f"{self.name} was imported as a finished file, so it cannot be {what} here; {remedy}")


class DenseAdapter(ForeignAdapter):
    """A layout whose every place tells a box and class scores; NMS follows here."""

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        return select_batch((self.read(image) for image in zip(*raw, strict=True)), self.input, **limits)

    def read(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Decode]:
        """Return of one image the scores [places, classes] and what turns indices of places into boxes xyxy in input pixels."""
        raise NotImplementedError

    @cached_property
    def _cells(self) -> Tensor:
        """Column and row of every place, row by row, level by level: [places, 2]."""
        grids = [(torch.arange(rows), torch.arange(columns)) for rows, columns in _grids(self.input)]
        return torch.cat([torch.cartesian_prod(*grid).flip(1) for grid in grids]).to(torch.float32)

    @cached_property
    def _strides(self) -> Tensor:
        """Stride of every place: [places, 1]."""
        return torch.tensor(STRIDES, dtype=torch.float32).repeat_interleave(torch.tensor(_places(self.input)))[:, None]


@dataclass(frozen=True)
class YoloxAdapter(DenseAdapter):
    """YOLOX (Ge et al. 2021). Raw output: [N, places, 5 + classes]: centre and log of the size in strides, objectness, class scores."""

    def read(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Decode]:
        predictions = raw[0]

        def decode(places: Tensor) -> Tensor:
            strides = self._strides[places]
            centres = (predictions[places, :2] + self._cells[places]) * strides
            return _around(centres, predictions[places, 2:4].exp() * strides)

        return predictions[:, 4:5] * predictions[:, 5:], decode


@dataclass(frozen=True)
class NanodetAdapter(DenseAdapter):
    """NanoDet (github.com/RangiLyu/nanodet), which reads boxes as in Generalized Focal Loss (Li et al. 2020, section 3.2).

    Raw outputs: for each stride class scores [N, places, classes], then for each stride [N, places, 4 * bins]: logits of how far the
    left, top, right and bottom side are, in strides.
    """

    def read(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Decode]:
        scores, distributions = torch.cat(raw[: len(STRIDES)]), torch.cat(raw[len(STRIDES) :])

        def decode(places: Tensor) -> Tensor:
            strides = self._strides[places]
            chosen = distributions[places].unflatten(1, (4, -1)).softmax(dim=2)  # [k, 4, bins]
            bins = torch.arange(chosen.shape[2], dtype=chosen.dtype)
            left, top, right, bottom = ((chosen @ bins) * strides).unbind(dim=1)
            # The point of a cell is the middle of its pixels: (stride - 1) / 2 from the first.
            x, y = ((self._cells[places] + 0.5) * strides - 0.5).unbind(dim=1)
            return torch.stack([x - left, y - top, x + right, y + bottom], dim=1)

        return scores, decode


@dataclass(frozen=True)
class AnchorFreeAdapter(DenseAdapter):
    """Finished boxes before NMS. Raw output: [N, 4 + classes, places], or with `transposed` [N, places, 4 + classes].

    The first four are centre, width and height in input pixels, the rest class scores.
    """

    transposed: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {"transposed": self.transposed}

    def read(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Decode]:
        predictions = raw[0] if self.transposed else raw[0].T

        def decode(places: Tensor) -> Tensor:
            return _around(predictions[places, :2], predictions[places, 2:4])

        return predictions[:, 4:], decode


@dataclass(frozen=True)
class EndToEndAdapter(ForeignAdapter):
    """Finished detections. Raw output: [N, n, 6]: x1, y1, x2, y2 in input pixels, score, class; no NMS follows."""

    nms_in_graph: ClassVar[bool] = True

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        """Threshold and cut; the other limits change nothing."""
        found = []
        for rows in raw[0]:
            # Some graphs fill up with class -1.
            rows = rows[(rows[:, 5] >= 0) & (rows[:, 5] < len(self.classes))]
            boxes = clip(rows[:, :4], height=self.input.height, width=self.input.width)
            found.append(take_detections(boxes, rows[:, 4], rows[:, 5], score_thresh=limits["score_thresh"], max_det=limits["max_det"]))
        return found


def fit_outputs(layout: str, outputs: Outputs, *, classes: int, policy: InputPolicy) -> Fit:
    """Find the outputs of a layout among those that a file gave for one generated picture.

    Args:
        layout: name of LAYOUTS.
        outputs: what the file gave, by name.
        classes: how many classes were declared.

    Returns:
        The names of the layout's outputs in its order, and the adapter's options.

    Raises:
        InvalidInput: no output has the layout's shape for this number of classes, or its values are not what the layout says; the
            sentence tells what was expected and what was found.
    """
    names, options = _FITS[layout](outputs, classes, policy)
    for name in names:
        if not np.isfinite(outputs[name]).all():
            raise InvalidInput(f"output {name} holds numbers that are not finite on a generated picture; export the model again in fp32")
    return names, options


def _fit_yolox(outputs: Outputs, classes: int, policy: InputPolicy) -> Fit:
    places = sum(_places(policy))
    name = _only("yolox", outputs, (1, places, 5 + classes), classes, policy)
    _require_probabilities(name, outputs[name][..., 4:])
    # NaN, which is refused later, is above nothing.
    if np.median(np.abs(outputs[name][0, :, :4]).max(axis=1)) > RAW_WITHIN:
        raise InvalidInput(
            f"output {name} tells finished boxes, and layout yolox wants them raw, as offsets and logarithms in cells; "
            "export the model again without --decode_in_inference"
        )
    return (name,), {}


def _fit_nanodet(outputs: Outputs, classes: int, policy: InputPolicy) -> Fit:
    levels = [_nanodet_level(outputs, places, classes) for places in _places(policy)]
    found = [level for level in levels if level]
    if len(found) < len(STRIDES) or len({outputs[distances].shape[2] for _, distances in found}) > 1:
        expected = " and ".join(f"[1, {places}, {classes}] with [1, {places}, 4 x bins]" for places in _places(policy))
        raise _unfit("nanodet", expected, outputs, classes, policy)
    for scores, _ in found:
        _require_probabilities(scores, outputs[scores])
    return (*(scores for scores, _ in found), *(distances for _, distances in found)), {}


def _nanodet_level(outputs: Outputs, places: int, classes: int) -> tuple[str, str] | None:
    """Return the names of the class scores and of the distances of one level; where both could be either, the scores come first."""
    names = [name for name, values in outputs.items() if values.ndim == 3 and values.shape[:2] == (1, places)]
    scores = [name for name in names if outputs[name].shape[2] == classes]
    distances = [name for name in names if outputs[name].shape[2] % 4 == 0 and outputs[name].shape[2] >= 8 and name not in scores[:1]]
    return (scores[0], distances[0]) if scores and distances else None


def _fit_anchor_free(outputs: Outputs, classes: int, policy: InputPolicy) -> Fit:
    rows = 4 + classes
    fitting = [name for name, values in outputs.items() if values.ndim == 3 and values.shape[0] == 1 and rows in values.shape[1:]]
    if len(fitting) != 1:
        raise _unfit("anchor_free", f"one output [1, {rows}, places] or [1, places, {rows}]", outputs, classes, policy)
    name = fitting[0]
    transposed = outputs[name].shape[1] != rows
    predictions = outputs[name][0] if transposed else outputs[name][0].T
    _require_probabilities(name, predictions[:, 4:])
    _require_pixels("anchor_free", name, predictions[:, :4])
    return (name,), {"transposed": transposed}


def _fit_end_to_end(outputs: Outputs, classes: int, policy: InputPolicy) -> Fit:
    fitting = [name for name, values in outputs.items() if values.ndim == 3 and (values.shape[0], values.shape[2]) == (1, 6)]
    if len(fitting) != 1:
        raise _unfit("end_to_end", "one output [1, N, 6]", outputs, classes, policy)
    name = fitting[0]
    _require_probabilities(name, outputs[name][..., 4])
    labels = outputs[name][0, :, 5]
    if (labels != np.round(labels)).any() or (labels >= classes).any():
        worst = float(labels[labels != np.round(labels)][0]) if (labels != np.round(labels)).any() else float(labels.max())
        raise InvalidInput(
            f"output {name} names class {worst:g} in its last column, and {classes} classes were given, numbered from 0; "
            "correct the list of classes or the layout"
        )
    # Rows that only fill up tell no box.
    _require_pixels("end_to_end", name, outputs[name][0, (labels >= 0) & outputs[name][0, :, :4].any(axis=1), :4])
    return (name,), {}


def _fit_fastestdet(outputs: Outputs, classes: int, policy: InputPolicy) -> Fit:
    name = _only("fastestdet", outputs, (1, 5 + classes, policy.height // 16, policy.width // 16), classes, policy)
    _require_probabilities(name, np.delete(outputs[name], range(1, 5), axis=1))
    return (name,), {}


_FITS: dict[str, Callable[[Outputs, int, InputPolicy], Fit]] = {
    "yolox": _fit_yolox,
    "nanodet": _fit_nanodet,
    "anchor_free": _fit_anchor_free,
    "end_to_end": _fit_end_to_end,
    "fastestdet": _fit_fastestdet,
}


def _only(layout: str, outputs: Outputs, shape: tuple[int, ...], classes: int, policy: InputPolicy) -> str:
    """Return the one output of this shape. Where the number of classes alone is another, the refusal says so."""
    fitting = [name for name, values in outputs.items() if values.shape == shape]
    if len(fitting) == 1:
        return fitting[0]
    place = 1 if layout == "fastestdet" else 2
    others = [
        values.shape[place] - 5
        for values in outputs.values()
        if values.ndim == len(shape) and np.delete(values.shape, place).tolist() == np.delete(shape, place).tolist()
    ]
    raise _unfit(layout, f"one output {_shown(shape)}", outputs, classes, policy, other_classes=max(others, default=0))


def _unfit(layout: str, expected: str, outputs: Outputs, classes: int, policy: InputPolicy, *, other_classes: int = 0) -> InvalidInput:
    shown = [f"{name} {_shown(values.shape)}" for name, values in outputs.items()]
    found = ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
    remedy = "choose another layout, or export the model in this one"
    if other_classes > 0 and other_classes != classes:
        remedy = f"these outputs are of {other_classes} classes: give their names"
    where = f"layout {layout} with {classes} classes at {policy.width}x{policy.height} px"
    return InvalidInput(f"{where} needs {expected}, and the file gives {found or 'no float32 output'}; {remedy}")


def _require_probabilities(name: str, scores: np.ndarray) -> None:
    if not scores.size:
        return
    low, high = float(scores.min()), float(scores.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise InvalidInput(
            f"the scores in output {name} run from {low:.3g} to {high:.3g} on a generated picture, and the layout wants 0 to 1; "
            "export the model with its last sigmoid or softmax, or choose another layout"
        )


def _require_pixels(layout: str, name: str, boxes: np.ndarray) -> None:
    if boxes.size and np.abs(boxes).max() <= FRACTIONS_WITHIN:
        raise InvalidInput(
            f"output {name} tells boxes in parts of the image; layout {layout} wants input pixels, so scale them in the graph"
        )


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _around(centres: Tensor, sizes: Tensor) -> Tensor:
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)


def _grids(policy: InputPolicy) -> list[tuple[int, int]]:
    """Rows and columns of each level; a convolution of stride 2 rounds up."""
    return [(-(-policy.height // stride), -(-policy.width // stride)) for stride in STRIDES]


def _places(policy: InputPolicy) -> list[int]:
    return [rows * columns for rows, columns in _grids(policy)]
