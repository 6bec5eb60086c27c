"""Sample predictions: what a detector that is being trained finds on a few images of val, each time it is evaluated there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.evaluation.examples import few_examples
from detection_core.schemas.events import EventWriter

IMAGES = 4
SCORE_THRESH = 0.3
_IMAGE_ID = 0


class Samples:
    """Shows the same few images of a split after each evaluation, with detections of a score of 0.3 or more."""

    def __init__(self, dataset: DetectionDataset, split: Sequence[ImageRecord], events: EventWriter) -> None:
        self._records = chosen_images(split)
        self._truth = dataset.coco(self._records)
        self._events = events

    def show(self, detections: np.ndarray, *, step: int, epoch: float) -> None:
        """Tell what was found on them; `detections` float64 [n, 7] are those of the whole split."""
        mine = detections[np.isin(detections[:, _IMAGE_ID], [record.image_id for record in self._records])]
        self._events.samples(few_examples(self._truth, mine, score_thresh=SCORE_THRESH), step=step, epoch=epoch)


def chosen_images(split: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Return at most four images, evenly over the split in its order; where it can be, all of them have objects."""
    of = [record for record in split if len(record.boxes)] or list(split)
    count = min(IMAGES, len(of))
    return tuple(of[place * len(of) // count] for place in range(count))
