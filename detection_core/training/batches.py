"""Batches of augmented images. What a batch holds depends on seed, epoch and step alone, so a training can go on from any of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from detection_core.data.augment import augment
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.models.adapter import Target
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

Batch = tuple[Tensor, list[Target]]
# Decoded images are kept up to this many bytes; what does not fit is decoded again in each epoch.
CACHE_BYTES = 1 << 30
PREFETCHED = 3


class TrainingBatches:
    """The train split as batches: images float32 [N, 3, H, W] and their targets, boxes xyxy in network-input pixels.

    Crowd boxes are no targets. A last batch of a single image is left out, because batch normalisation learns nothing from it.

    Raises:
        InvalidInput: there are fewer than two images.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        records: Sequence[ImageRecord],
        policy: InputPolicy,
        augmentation: Augmentation,
        *,
        batch_size: int,
        seed: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if len(records) < 2:
            raise InvalidInput(f"data set '{dataset.name}' has {len(records)} training images; a training needs at least 2")
        self._dataset = dataset
        self._records = tuple(records)
        self._policy = policy
        self._augmentation = augmentation
        self._batch_size = min(batch_size, len(records))
        self._seed = seed
        self._cache: dict[int, np.ndarray] = {}
        self._cache_left = cache_bytes

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        whole, rest = divmod(len(self._records), self._batch_size)
        return whole + (rest > 1)

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch]:
        """Yield the batches of an epoch (counted from 0) from `first_step` on; one thread prepares the next ones meanwhile."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=PREFETCHED)
        closed = threading.Event()

        def put(item: Batch | BaseException | None) -> None:
            while not closed.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    return

        def prepare() -> None:
            try:
                order = self._order(epoch)
                for step in range(first_step, self.steps_per_epoch):
                    if closed.is_set():
                        return
                    put(self._batch(epoch, order[step * self._batch_size : (step + 1) * self._batch_size]))
                put(None)
            except BaseException as error:  # it is raised again in the thread that trains
                put(error)

        thread = threading.Thread(target=prepare, name="batches", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            closed.set()
            thread.join()

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._records)).tolist()

    def _batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        images, targets = [], []
        for index in indices:
            record = self._records[index]
            plain = ~record.iscrowd
            rng = np.random.default_rng([self._seed, epoch, index])
            image, boxes, labels = augment(
                self._image(index), record.boxes[plain], record.labels[plain], self._policy, self._augmentation, rng
            )
            images.append(image)
            targets.append({"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)})
        return torch.from_numpy(np.stack(images)), targets

    def _image(self, index: int) -> np.ndarray:
        if (cached := self._cache.get(index)) is not None:
            return cached
        image = self._dataset.read_image(self._records[index])
        if image.nbytes <= self._cache_left:
            self._cache[index] = image
            self._cache_left -= image.nbytes
        return image
