"""A backend that computes nothing: what remains of a latency is the harness. Its numbers never stand on the board."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detection_core.backends.base import Mark
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import BackendAbility

# As a logit it is a score of nothing, as a finished score it is under every threshold.
NOTHING = -20.0


class NullBackend:
    """Answers every image with the same raw outputs, of the network's own number and shapes."""

    name = "null"
    formats: tuple[str, ...] = ("safetensors", "onnx")

    def ability(self) -> BackendAbility:
        """It runs wherever Python runs."""
        return BackendAbility(name=self.name, devices=("cpu",), formats=self.formats)

    def load(self, path: Path, manifest: Manifest, *, device: str, threads: int) -> NullSession:
        """Build the network once with random weights, for the shapes of its outputs; the file's weights are not read."""
        import torch

        from detection_core.build import adapter_from_manifest

        torch.set_num_threads(threads)
        adapter = adapter_from_manifest(manifest)
        images = torch.zeros(1, 3, manifest.input.height, manifest.input.width)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            raw = adapter.forward(adapter.build().eval(), images)
        return NullSession(tuple(_nothing_like(output.numpy()) for output in raw))


class NullSession:
    """The same answer every time."""

    def __init__(self, outputs: tuple[np.ndarray, ...]) -> None:
        self._outputs = outputs

    def run(self, batch: np.ndarray, mark: Mark | None = None) -> tuple[np.ndarray, ...]:
        """See `backends.base.Session.run`."""
        if mark is not None:
            mark("forward")
        return self._outputs

    def close(self) -> None:
        """There is nothing to release."""


def _nothing_like(output: np.ndarray) -> np.ndarray:
    return np.full_like(output, NOTHING if output.dtype.kind == "f" else 0)
