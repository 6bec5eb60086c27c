"""The assignment report and fitted anchors of a catalogue detector on stored boxes: placed as `preprocess` does, then counted.

No job does this: it takes less than a second, without torch and without an image file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection_core.assignment.fit import AnchorProposal, fit_anchors
from detection_core.assignment.layouts import AnchorOptions, layout
from detection_core.assignment.report import AssignmentReport, assign, assignment_report, pairs_of, unmatched_share
from detection_core.assignment.truth import Truth, sample_images
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.specs import Detector, Neck
from detection_core.data.dataset import ImageRecord
from detection_core.data.preprocess import fitted_size
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

MOST_OBJECTS = 20_000
# Fine levels with large anchors have hundreds of overlaps an object; this many take well under a second.
MOST_PAIRS = 4_000_000
# Enough to tell whether a tenth of the objects is lost.
ADVICE_OBJECTS = 3_000
TOO_MANY = 0.1
Share = Callable[[Detector, Truth, int, AnchorOptions | None], float]
LARGER_SIZES = (320, 416, 512, 640, 800, 1024, 1280)


@dataclass(frozen=True, eq=False)
class SplitBoxes:
    """The objects of a split in pixels of the original images, without crowds, which no training learns from.

    `boxes` float64 [n, 4] xyxy; `image` int64 [n], 0-based and ascending; `area` float64 [n]; `sizes` int64 [images, 2], width and
    height of every image.
    """

    split: str
    boxes: np.ndarray
    image: np.ndarray
    area: np.ndarray
    sizes: np.ndarray

    def sample(self, limit: int, seed: int = 0) -> SplitBoxes:
        """Return whole images, drawn by `seed`, with at most `limit` objects; all of them if there are no more."""
        chosen = sample_images(self.image, len(self.sizes), limit=limit, seed=seed)
        if len(chosen) == len(self.sizes):
            return self
        part = Truth(self.boxes, self.image, self.area, len(self.sizes)).of_images(chosen)
        return SplitBoxes(self.split, part.boxes, part.image, part.area, self.sizes[np.sort(chosen)])


def split_boxes(records: Iterable[ImageRecord], split: str) -> SplitBoxes:
    """Collect the objects of images of a data set."""
    records = list(records)
    plain = [~record.iscrowd for record in records]
    counts = [int(chosen.sum()) for chosen in plain]
    return SplitBoxes(
        split=split,
        boxes=np.concatenate([np.zeros((0, 4)), *(record.boxes[chosen] for record, chosen in zip(records, plain, strict=True))]),
        image=np.repeat(np.arange(len(records)), counts),
        area=np.concatenate([np.zeros(0), *(record.area[chosen] for record, chosen in zip(records, plain, strict=True))]),
        sizes=np.array([(record.width, record.height) for record in records], dtype=np.int64).reshape(-1, 2),
    )


def assignment_of(
    model: str,
    boxes: SplitBoxes,
    *,
    input_size: int | None = None,
    options: AnchorOptions | dict[str, Any] | None = None,
    seed: int = 0,
) -> AssignmentReport:
    """Report what a training of a catalogue detector could learn from, on at most 20,000 objects, with an advice where much is lost.

    Fewer are counted where each has very many anchors around it; the report tells on how many.

    Args:
        model: key of DETECTORS.
        boxes: the objects of a split.
        input_size: side of the square input in pixels; None takes the detector's own.
        options: other anchors or another neck than the detector's own, also as a recipe's `model_options`.
        seed: draws the images of a sample.

    Raises:
        InvalidInput: no such detector, one without a known assignment, or a size or anchors that do not fit it.
    """
    detector = _detector(model)
    policy = _policy(detector, input_size)
    options = anchors_in(options) if isinstance(options, dict) else options
    part = _sample(detector, boxes, policy, options, seed)
    report = assignment_report(
        detector,
        place(part, policy),
        height=policy.height,
        width=policy.width,
        split=boxes.split,
        options=options,
        all_images=len(boxes.sizes),
        all_objects=len(boxes.boxes),
    )
    return report.model_copy(update={"advice": _advice(report, part, options)})


def anchors_for(model: str, boxes: SplitBoxes, *, input_size: int | None = None, neck: Neck | None = None, seed: int = 0) -> AnchorProposal:
    """Propose anchors of a catalogue detector for the objects of a split, see `fit_anchors`.

    Raises:
        InvalidInput: no such detector, one without anchors, a size or a neck that does not fit it, or no objects.
    """
    detector = _detector(model)
    policy = _policy(detector, input_size)
    truth = place(boxes.sample(MOST_OBJECTS, seed), policy)
    return fit_anchors(detector, truth, height=policy.height, width=policy.width, split=boxes.split, neck=neck, seed=seed)


def anchors_in(model_options: Mapping[str, Any]) -> AnchorOptions:
    """Return the anchors and the neck among the `model_options` of a recipe.

    Raises:
        InvalidInput: anchors that are not lists of numbers a level, or an unknown neck.
    """
    return AnchorOptions.parse({name: value for name, value in model_options.items() if name in AnchorOptions.model_fields})


def place(boxes: SplitBoxes, policy: InputPolicy) -> Truth:
    """Put the objects where `preprocess` puts them in the network's input."""
    kinds, which = np.unique(boxes.sizes, axis=0, return_inverse=True)
    fitted = np.array([fitted_size(width, height, policy) for width, height in kinds.tolist()]).reshape(-1, 2)
    scale = (fitted / kinds)[which.reshape(-1)][boxes.image]  # [n, 2]: x, y
    return Truth((boxes.boxes * np.tile(scale, 2)).astype(np.float32), boxes.image, boxes.area, len(boxes.sizes))


def _detector(model: str) -> Detector:
    if model not in DETECTORS:
        raise InvalidInput(f"there is no detector named {model!r}; use one of {', '.join(DETECTORS)}")
    return DETECTORS[model]


def _policy(detector: Detector, input_size: int | None) -> InputPolicy:
    side = input_size or detector.input_size
    return InputPolicy.parse({"height": side, "width": side, "resize": detector.resize})


def _advice(report: AssignmentReport, boxes: SplitBoxes, options: AnchorOptions | None) -> str:
    """Say what to do where more than a tenth of the objects is lost or has no anchor at IoU 0.5: a larger input only where it helps."""
    detector = _detector(report.model)
    part = boxes.sample(ADVICE_OBJECTS)
    if report.lost_share > TOO_MANY:
        size = _larger(detector, part, report.input_size, options, _lost_share)
        remedy = f"raise the input size to {size}" if size else f"no input up to {LARGER_SIZES[-1]} px changes that"
        return f"{report.lost_share:.0%} of the objects would teach it nothing; {remedy}."
    if (report.unmatched_share or 0.0) > TOO_MANY:
        size = _larger(detector, part, report.input_size, options, _unmatched_share)
        fitted = options is not None and options.has_anchors
        remedies = [*([] if fitted else ["fit the anchors"]), *([f"raise the input size to {size}"] if size else [])]
        remedy = ", or ".join(remedies) or f"no input up to {LARGER_SIZES[-1]} px changes that"
        return f"{report.unmatched_share:.0%} of the objects have no anchor that overlaps them by half; {remedy}."
    return ""


def _sample(detector: Detector, boxes: SplitBoxes, policy: InputPolicy, options: AnchorOptions | None, seed: int) -> SplitBoxes:
    part = boxes.sample(MOST_OBJECTS, seed)
    levels = layout(detector, height=policy.height, width=policy.width, options=options)
    few = part.sample(ADVICE_OBJECTS, seed)
    pairs = pairs_of(detector, levels, place(few, policy)) * len(part.boxes) / max(1, len(few.boxes))
    return (
        part if pairs <= MOST_PAIRS or len(part.boxes) <= ADVICE_OBJECTS else part.sample(int(len(part.boxes) * MOST_PAIRS / pairs), seed)
    )


def _larger(detector: Detector, boxes: SplitBoxes, present: int, options: AnchorOptions | None, share: Share) -> int | None:
    """Return the smallest larger input at which few enough objects are concerned."""
    for size in LARGER_SIZES:
        if size > present and share(detector, place(boxes, _policy(detector, size)), size, options) <= TOO_MANY:
            return size
    return None


def _lost_share(detector: Detector, truth: Truth, size: int, options: AnchorOptions | None) -> float:
    found = assign(detector, layout(detector, height=size, width=size, options=options), truth)
    return float((found.owned.sum(axis=1) == 0).mean()) if len(truth) else 0.0


def _unmatched_share(detector: Detector, truth: Truth, size: int, options: AnchorOptions | None) -> float:
    return unmatched_share(detector, truth, height=size, width=size, options=options)
