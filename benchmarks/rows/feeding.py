"""Which part of its time a training waits for images: the smallest detector on one core, its images prepared on another.

The network is the hardest to feed: nothing else of the catalogue takes so little time for a step. The first epoch, in which all images are
decoded, counts as any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.row import Arm, Mark, Options, Row
from detection_core.data.dataset import DetectionDataset
from detection_core.data.load import load_dataset
from detection_core.operations.context import JobContext
from detection_core.operations.train import run
from detection_core.schemas.events import EventWriter
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import TrainSpec

MODEL = "fastestdet"
SIDE = 256
RECIPES: dict[str, dict[str, Any]] = {
    "default recipe": {},
    "mosaic and mixup": {"augmentation": {"mosaic": 1.0, "mixup": 0.2, "closing_fraction": 0.0}},
}


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open one arm for each recipe over one generated data set; each figure is the share of a whole training."""
    images = {"train": 120 if options.quick else 240, "val": 0, "test": 0}
    dataset = load_dataset("fields", cache_dir=options.folder, options=images)

    class Context(JobContext):
        def dataset(self, file: InputFile) -> DetectionDataset:
            return dataset

    def arm(settings: dict[str, Any]) -> Arm:
        recipe = Recipe.parse({"epochs": 2, "batch_size": 8, "input_size": SIDE, **settings})
        spec = TrainSpec(model=MODEL, dataset=InputFile(ref="fields"), recipe=recipe, threads=1)

        def share_of_waiting() -> float:
            result = run(spec, Context(out=options.folder, events=EventWriter(None), inputs=None, cache=options.folder))
            assert result.waiting_share is not None
            return result.waiting_share

        return share_of_waiting

    yield {name: arm(settings) for name, settings in RECIPES.items()}


ROW = Row(
    name="feeding",
    what="the part of a training's time in which it waits for images: FastestDet at 256 px, one thread of torch, one of images",
    unit="of the time",
    mark=Mark("median", 0.10),
    arms=arms,
    rounds=3,
    quick_rounds=2,
)
