"""From an image to boxes in its own pixels: the one path that evaluation and latency measurements both take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detection_core.backends.base import Mark, Session, obstacle
from detection_core.backends.eager import EagerSession
from detection_core.backends.registry import get_backend
from detection_core.build import adapter_from_manifest, read_manifest
from detection_core.data.preprocess import preprocess
from detection_core.models.adapter import DetectorAdapter
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy, Postprocessing

Clock = Callable[[], int]


@dataclass(frozen=True)
class ImageDetections:
    """What was found in one image, best first: `boxes` float64 [n, 4] xyxy in the image's own pixels, `scores` float64 [n] 0..1,
    `labels` int64 [n] 0-based."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class ModelPipeline:
    """A network ready to run (`session`), with its pre- and post-processing."""

    def __init__(self, adapter: DetectorAdapter, session: Session, postprocessing: Postprocessing) -> None:
        self._adapter = adapter
        self._session = session
        self.postprocessing = postprocessing

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self._adapter.classes

    @property
    def input(self) -> InputPolicy:
        """How an image becomes the network's input."""
        return self._adapter.input

    def detect(self, image: np.ndarray) -> ImageDetections:
        """Find objects in an image, uint8 [height, width, 3] RGB."""
        return self._detect(image, None)

    def detect_timed(self, image: np.ndarray, clock: Clock) -> tuple[ImageDetections, dict[str, int]]:
        """Find objects and tell how long each stage took.

        Args:
            image: uint8 [height, width, 3] RGB.
            clock: returns nanoseconds, e.g. `time.perf_counter_ns`.

        Returns:
            The detections, and nanoseconds of `preprocess`, `forward`, `postprocess`, on CUDA also `h2d` and `d2h`. They leave no
            gap: their sum is the time from the first to the last reading of the clock. On CUDA the device is synchronised between
            them, which `detect` does not do.
        """
        stages: dict[str, int] = {}
        last = clock()

        def mark(stage: str) -> None:
            nonlocal last
            now = clock()
            stages[stage] = now - last
            last = now

        return self._detect(image, mark), stages

    def close(self) -> None:
        """Release the model."""
        self._session.close()

    def _detect(self, image: np.ndarray, mark: Mark | None) -> ImageDetections:
        array, placement = preprocess(image, self._adapter.input)
        if mark is not None:
            mark("preprocess")
        raw = self._session.run(array[None], mark)
        rules = self.postprocessing
        with torch.inference_mode():
            found = self._adapter.postprocess(
                tuple(torch.from_numpy(output) for output in raw),
                score_thresh=rules.score_thresh,
                nms_thresh=rules.nms_thresh,
                max_det=rules.max_det,
                pre_nms_topk=rules.pre_nms_topk,
            )[0]
        boxes = placement.to_image(found.boxes.numpy().astype(np.float64))
        # What lay in the padding has no extent left.
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        detections = ImageDetections(boxes[real], found.scores.numpy().astype(np.float64)[real], found.labels.numpy()[real])
        if mark is not None:
            mark("postprocess")
        return detections


class DetectionPipeline(ModelPipeline):
    """A model file, loaded by a backend.

    Args:
        path: a .safetensors or .onnx file with its manifest inside.
        backend: name of the backend that runs it.
        device: "cpu", "cuda" or "cuda:N".
        threads: of the backend and of the post-processing.
        score_thresh: detections at or under it are dropped; 0.001 is the protocol of AP.
        max_det: most detections of one image; the manifest's where None.

    Raises:
        InvalidInput: the file is broken, or this backend or device cannot run it.
    """

    def __init__(
        self, path: Path, *, backend: str, device: str = "cpu", threads: int = 1, score_thresh: float = 0.001, max_det: int | None = None
    ) -> None:
        self.manifest = read_manifest(path)
        chosen = get_backend(backend)
        if reason := obstacle(chosen, self.manifest, device):
            raise InvalidInput(reason)
        torch.set_num_threads(threads)
        session = chosen.load(path, self.manifest, device=device, threads=threads)
        changes = {"score_thresh": score_thresh} | ({} if max_det is None else {"max_det": max_det})
        postprocessing = self.manifest.postprocessing.model_copy(update=changes)
        super().__init__(adapter_from_manifest(self.manifest), session, postprocessing)


def pipeline_of_model(
    adapter: DetectorAdapter, model: torch.nn.Module, *, device: str, threads: int, postprocessing: Postprocessing
) -> ModelPipeline:
    """Put a pipeline around a network in memory, which it takes over: eval mode, channels last, on `device`."""
    torch.set_num_threads(threads)
    return ModelPipeline(adapter, EagerSession(adapter, model, device=device), postprocessing)
