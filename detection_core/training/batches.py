"""Batches of augmented images. What a batch holds depends on seed, epoch and number alone, so a training can go on from any of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from detection_core.data.augment.compose import augment
from detection_core.data.augment.sample import Sample
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.models.adapter import Target
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.recipe import Augmentation

Batch = tuple[Tensor, list[Target]]
CACHE_BYTES = 1 << 30
# Batches that lie ready beside those that the workers are at.
PREFETCHED = 3
# Sides of the input under `multi_scale`.
SIDE_MULTIPLE, SIDE_LEAST, SIDE_MOST = 32, 64, 2048


class TrainingBatches:
    """The train split as batches: images float32 [N, 3, H, W] and their targets, boxes xyxy in network-input pixels.

    Crowd boxes are no targets. A last batch of a single image is left out, because batch normalisation learns nothing from it.

    Args:
        accumulate: batches of one step; the last step of an epoch has what is left.
        workers: threads that prepare batches. They change no batch and not their order.
        cache_bytes: decoded images are kept up to this; what does not fit is decoded again whenever it is needed.

    Raises:
        InvalidInput: there are fewer than two images, or the input cannot have several scales.
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
        accumulate: int = 1,
        workers: int = 1,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if len(records) < 2:
            raise InvalidInput(f"data set '{dataset.name}' has {len(records)} training images; a training needs at least 2")
        self._dataset = dataset
        self._records = tuple(records)
        self._policies = scaled_inputs(policy, augmentation.multi_scale)
        self._augmentation = augmentation
        self._batch_size = min(batch_size, len(records))
        self._seed = seed
        self._accumulate = accumulate
        self._workers = workers
        self._cache: dict[int, np.ndarray] = {}
        self._cache_left = cache_bytes
        self._caching = threading.Lock()

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch."""
        whole, rest = divmod(len(self._records), self._batch_size)
        return whole + (rest > 1)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, of `accumulate` batches each; the last may have fewer."""
        return -(-self.batches_per_epoch // self._accumulate)

    def epoch(self, epoch: int, first_step: int = 0, closing: bool = False) -> Generator[Batch]:
        """Yield the batches of an epoch (counted from 0) from `first_step` on, while the next ones are prepared.

        Args:
            closing: whether the training is in its last part, in which images are not mixed any more.
        """
        augmentation = self._augmentation.closed() if closing else self._augmentation
        order = self._order(epoch)
        numbers = iter(range(first_step * self._accumulate, self.batches_per_epoch))
        with ThreadPoolExecutor(self._workers, thread_name_prefix="batches") as pool:

            def begun(count: int) -> list[Future[Batch]]:
                return [pool.submit(self._batch, epoch, number, order, augmentation) for number in islice(numbers, count)]

            ready = deque(begun(self._workers + PREFETCHED))
            try:
                while ready:
                    batch = ready.popleft().result()
                    ready.extend(begun(1))
                    yield batch
            finally:
                pool.shutdown(cancel_futures=True)

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._records)).tolist()

    def _batch(self, epoch: int, number: int, order: Sequence[int], augmentation: Augmentation) -> Batch:
        policy = self._policy(epoch, number)
        images, targets = [], []
        for index in order[number * self._batch_size : (number + 1) * self._batch_size]:
            rng = np.random.default_rng([self._seed, epoch, index])
            image, boxes, labels = augment(self._sample(index), self._any_sample, policy, augmentation, rng)
            images.append(image)
            targets.append({"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)})
        return torch.from_numpy(np.stack(images)), targets

    def _policy(self, epoch: int, number: int) -> InputPolicy:
        if len(self._policies) == 1:
            return self._policies[0]
        # The last 1 sets the draw apart from that of an image: a seed sequence takes zeros at its end for nothing.
        return self._policies[int(np.random.default_rng([self._seed, epoch, number, 1]).integers(len(self._policies)))]

    def _any_sample(self, rng: np.random.Generator) -> Sample:
        return self._sample(int(rng.integers(len(self._records))))

    def _sample(self, index: int) -> Sample:
        record = self._records[index]
        plain = ~record.iscrowd
        return Sample.of(self._image(index), record.boxes[plain], record.labels[plain])

    def _image(self, index: int) -> np.ndarray:
        if (cached := self._cache.get(index)) is not None:
            return cached
        image = self._dataset.read_image(self._records[index])
        with self._caching:
            if index not in self._cache and image.nbytes <= self._cache_left:
                self._cache[index] = image
                self._cache_left -= image.nbytes
        return image


def scaled_inputs(policy: InputPolicy, multi_scale: float) -> list[InputPolicy]:
    """Return the inputs that batches are drawn from, smallest first: sides in steps of 32 px, up to `multi_scale` smaller or larger.

    Raises:
        InvalidInput: the input is no square whose side is a multiple of 32.
    """
    if not multi_scale:
        return [policy]
    side = policy.width
    if policy.height != side or side % SIDE_MULTIPLE:
        raise InvalidInput(
            f"'multi_scale' needs a square input whose side is a multiple of {SIDE_MULTIPLE}, and this one is {side}x{policy.height}; "
            "set 'input_size', or 'multi_scale' to 0"
        )
    sides = range(SIDE_LEAST, SIDE_MOST + 1, SIDE_MULTIPLE)
    chosen = [one for one in sides if abs(one - side) <= multi_scale * side]
    return [policy.model_copy(update={"height": one, "width": one}) for one in chosen]
