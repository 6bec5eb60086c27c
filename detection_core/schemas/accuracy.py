"""What an evaluation says beyond the 12 numbers: intervals, the operating point, errors, calibration. Shares and scores are 0..1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detection_core.schemas.base import Schema
from detection_core.schemas.files import Sha256

Unit = Annotated[float, Field(ge=0, le=1)]
SplitName = Literal["train", "val", "test"]


class Interval(Schema):
    """A bootstrap interval at 95%, corrected for bias, so that the number itself may lie outside; `low` <= `high`."""

    low: Unit
    high: Unit


class Bootstrap(Schema):
    """Intervals of AP by resampling images, or groups of images (places, flights, clips) where they carry one.

    `key` is the hash of what the draws depend on: the units in their order, their number and the seed. Two evaluations with the same
    key were resampled by the same draws, so that their differences, draw by draw, are paired. The values of every draw are in the
    output file `curves`. `groups_ignored`: images belong to groups, and were resampled one by one all the same, so that intervals are too
    narrow and no difference may be called one; `note` says why, and also, for instance, that objects are few.
    """

    draws: Annotated[int, Field(ge=1)]
    seed: int
    unit: Literal["image", "group"]
    units: Annotated[int, Field(ge=0)]
    key: Sha256
    intervals: dict[str, Interval | None]  # by the name of the number: ap, ap50, ap75, ap_small, ar_100
    groups_ignored: bool = False
    note: str = ""


class ClassOperation(Schema):
    """One class at the operating point, at IoU 0.5. Counts leave out crowd boxes and what they hide."""

    name: str
    ground_truths: int
    detections: int
    true_positives: int
    precision: Unit | None
    recall: Unit | None
    f1: Unit | None


class OperatingPoint(Schema):
    """What a user of the detector gets at one score threshold: matches at IoU 0.5, over all classes.

    The threshold gives the largest F1 on `chosen_on`: `val`, or the evaluated split itself where there is no other, which flatters.
    `small_recall` is recall of objects up to 32 x 32 pixels of the original image; `small_ground_truths` how many there are.
    """

    score_thresh: Unit
    chosen_on: Annotated[str, Field(min_length=1)]
    criterion: Literal["max_f1"] = "max_f1"
    true_positives: int
    false_positives: int
    ground_truths: int
    precision: Unit | None
    recall: Unit | None
    f1: Unit | None
    false_positives_per_image: Annotated[float, Field(ge=0)]
    small_recall: Unit | None
    small_ground_truths: int
    per_class: tuple[ClassOperation, ...]


class Confusion(Schema):
    """Counts at the operating point; row: true class, column: detected class, matched at IoU 0.5 whatever the class.

    The last row is background taken for an object, the last column objects that nothing was matched to.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class ErrorShares(Schema):
    """TIDE (Bolya et al. 2020): how many errors of each kind there are and how much AP50 mending each kind would give.

    Kinds: Cls, Loc, Both, Dupe, Bkg, Miss; `gain` also has FP and FN. Gains do not add up.
    """

    ap50: Unit | None
    gain: dict[str, float]
    counts: dict[str, int]
    foreground_iou: float = 0.5
    background_iou: float = 0.1


class CalibrationBin(Schema):
    """Detections with a score in [low, high): how many, their mean score, the share that is right at IoU 0.5."""

    low: float
    high: float
    count: int
    mean_score: Unit | None
    precision: Unit | None


class Calibration(Schema):
    """D-ECE (Küppers et al. 2020): mean gap of score and precision over score bins, of detections above `score_floor` only."""

    score_floor: Unit
    detections: int
    ece: Unit | None
    bins: tuple[CalibrationBin, ...]


class AccuracyCard(Schema):
    """All of it, computed from the detections and the ground truth alone."""

    bootstrap: Bootstrap | None = None
    operating_point: OperatingPoint | None = None
    confusion: Confusion | None = None
    errors: ErrorShares | None = None
    calibration: Calibration | None = None
