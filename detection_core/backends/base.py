"""What a backend is: something that turns an input batch into raw outputs. Decode and NMS come after it, the same for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import BackendAbility

# Called with the name of a stage when that stage has just ended.
Mark = Callable[[str], None]


class Session(Protocol):
    """One loaded model, ready to run."""

    def run(self, batch: np.ndarray, mark: Mark | None = None) -> tuple[np.ndarray, ...]:
        """Run the network.

        Args:
            batch: float32 [N, 3, H, W], C-contiguous, preprocessed.
            mark: is told the end of `forward`, and on CUDA of `h2d` before and `d2h` after it. Only with `mark` is the device
                synchronised between the stages, so that without it they overlap as they would in use.

        Returns:
            The raw outputs in the order of `manifest.outputs`, in host memory, complete.
        """

    def close(self) -> None:
        """Release the model and its device memory."""


class Backend(Protocol):
    """One way to execute model files."""

    name: str
    formats: tuple[str, ...]

    def ability(self) -> BackendAbility:
        """Say which devices this machine offers to the backend, and where it offers none, why."""

    def load(self, path: Path, manifest: Manifest, *, device: str, threads: int) -> Session:
        """Load a model file with an explicit number of threads.

        Raises:
            InvalidInput: the file is broken or the device is not there.
        """


def obstacle(backend: Backend, manifest: Manifest, device: str) -> str | None:
    """Return why `backend` cannot run a model with this manifest on `device`, with the remedy; None where it can."""
    if manifest.format not in backend.formats:
        formats = " or ".join(backend.formats)
        return f"backend '{backend.name}' runs {formats} and this file is {manifest.format}; choose another backend or export the model"
    ability = backend.ability()
    if not ability.devices:
        return f"backend '{backend.name}' cannot run here: {ability.reason}"
    if device.partition(":")[0] not in ability.devices:
        return f"backend '{backend.name}' has no device '{device}' here; use {' or '.join(ability.devices)}"
    return None
