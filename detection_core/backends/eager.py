"""PyTorch as it is: the checkpoint's own network, no compilation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detection_core.backends.base import Mark
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import BackendAbility

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detection_core.models.adapter import DetectorAdapter


class EagerBackend:
    """Runs .safetensors checkpoints with torch on the CPU or a CUDA device."""

    name = "eager"
    formats: tuple[str, ...] = ("safetensors",)

    def ability(self) -> BackendAbility:
        """Tell the devices that torch sees."""
        if find_spec("torch") is None:
            return BackendAbility(name=self.name, devices=(), formats=self.formats, reason="torch is not installed; install paretobox[ml]")
        import torch

        devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        return BackendAbility(name=self.name, devices=devices, formats=self.formats)

    def load(self, path: Path, manifest: Manifest, *, device: str, threads: int) -> EagerSession:
        """Load a checkpoint; InvalidInput where it is broken or the device is not there."""
        import torch

        from detection_core.build import load_checkpoint

        torch.set_num_threads(threads)
        adapter, model, _ = load_checkpoint(path)
        return EagerSession(adapter, model, device=device)


class EagerSession:
    """A network in memory, as it would be exported. It takes the model over: eval mode, channels last, on `device`."""

    def __init__(self, adapter: DetectorAdapter, model: nn.Module, *, device: str) -> None:
        import torch

        _require_device(device)
        self._device = torch.device(device)
        self._pinned: Tensor | None = None
        if self._device.type == "cuda":
            # fp32 means fp32: TF32 would round the inputs of convolutions to ten bits of mantissa.
            torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
        self._model = adapter.export_module(model).to(self._device).to(memory_format=torch.channels_last)

    def run(self, batch: np.ndarray, mark: Mark | None = None) -> tuple[np.ndarray, ...]:
        """See `backends.base.Session.run`."""
        import torch

        with torch.inference_mode():
            if self._device.type == "cpu":
                images = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
                raw = self._model(images)
            else:
                images = self._upload(batch)
                self._end(mark, "h2d")
                raw = self._model(images)
            self._end(mark, "forward")
            outputs = tuple(output.contiguous().cpu().numpy() for output in raw)
        if self._device.type != "cpu":
            self._end(mark, "d2h")
        return outputs

    def close(self) -> None:
        """Release the network; on CUDA also the memory that torch keeps for later."""
        import torch

        del self._model
        self._pinned = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _upload(self, batch: np.ndarray) -> Tensor:
        """Copy through pinned memory, which the device can read by itself."""
        import torch

        if self._pinned is None or self._pinned.shape != batch.shape:
            self._pinned = torch.empty(batch.shape, dtype=torch.float32, pin_memory=True)
        self._pinned.copy_(torch.from_numpy(batch))
        images = self._pinned.to(self._device, non_blocking=True)
        return images.contiguous(memory_format=torch.channels_last)

    def _end(self, mark: Mark | None, stage: str) -> None:
        if mark is None:
            return
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
        mark(stage)


def _require_device(device: str) -> None:
    import torch

    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("torch finds no CUDA device on this machine; use --device cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"there is no device '{device}'; this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
