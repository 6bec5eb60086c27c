"""What evaluating a model and scoring a file have in common: audit, intervals, operating point and the files behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection_core.evaluation.bootstrap import DRAWS
from detection_core.evaluation.card import accuracy_card
from detection_core.evaluation.coco_metrics import AUDIT_TOLERANCE, audit, engine_version
from detection_core.evaluation.curves import write_curves
from detection_core.evaluation.examples import write_examples
from detection_core.operations.context import JobContext
from detection_core.schemas.accuracy import AccuracyCard
from detection_core.schemas.files import OutputFile
from detection_core.schemas.results import Audit

# The stages that the events tell of, in their order; `make bench` reads their times.
AUDITING = "checking the numbers with pycocotools"
DRAWING = f"drawing images {DRAWS:,} times for the intervals"
WRITING = "writing the curves and examples"


@dataclass(frozen=True, eq=False)
class Judged:
    """Detections and what they are held against.

    `groups` by image id; `operating` is ground truth and detections of the split `chosen_on`, on which the score threshold is chosen, None
    where that is the judged split itself.
    """

    ground_truth: dict[str, Any]
    detections: np.ndarray
    groups: Mapping[int, str | None]
    operating: tuple[dict[str, Any], np.ndarray] | None
    chosen_on: str


@dataclass(frozen=True)
class Account:
    """The second evaluator's word, the card, and the files `curves` and, where scores are 0 to 1, `examples`."""

    audit: Audit
    card: AccuracyCard
    files: tuple[OutputFile, ...]


def account(judged: Judged, context: JobContext, *, begin: float) -> Account:
    """Audit the numbers, make the card and write its files.

    Args:
        begin: the fraction of the job that is done already; the rest is counted up from there.

    Raises:
        Stopped: the job was told to stop between two stages.
    """
    truth, table = judged.ground_truth, judged.detections
    _stage(AUDITING, begin, context)
    word = audited(truth, table, context)
    _stage(DRAWING, begin + 0.3 * (1 - begin), context)
    card, draws = accuracy_card(truth, table, groups=judged.groups, operating=judged.operating, chosen_on=judged.chosen_on)
    if card.operating_point is None:
        context.events.warning("scores are not 0 to 1, so there is no operating point, no calibration and no gallery; COCO's numbers stand")
    _stage(WRITING, begin + 0.9 * (1 - begin), context)
    curves = context.out / "curves.json.gz"
    write_curves(curves, truth, table, draws=draws, bootstrap=card.bootstrap)
    files = [context.emit("curves", curves)]
    if card.operating_point:
        examples = context.out / "examples.json.gz"
        write_examples(examples, truth, table, groups=dict(judged.groups), score_thresh=card.operating_point.score_thresh)
        files.append(context.emit("examples", examples))
    return Account(word, card, tuple(files))


def audited(ground_truth: dict[str, Any], detections: np.ndarray, context: JobContext) -> Audit:
    """Return the second evaluator's word, and say aloud where it contradicts the first."""
    word = audit(ground_truth, detections)
    if word.max_abs_difference > AUDIT_TOLERANCE:
        context.events.warning(
            f"{word.engine} differs from {engine_version('hotcoco')} by {word.max_abs_difference:.2g}; please report this"
        )
    return word


def _stage(name: str, fraction: float, context: JobContext) -> None:
    context.raise_if_stopped()
    context.events.progress(fraction, name)
