"""ONNX Runtime on the CPU or a CUDA device, through its own execution provider and no other."""

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
    from onnxruntime import InferenceSession


class OnnxRuntimeBackend:
    """Runs .onnx files."""

    name = "onnxruntime"
    formats: tuple[str, ...] = ("onnx",)

    def ability(self) -> BackendAbility:
        """Tell the devices whose execution provider is installed."""
        if find_spec("onnxruntime") is None:
            reason = "onnxruntime is not installed; install paretobox[ml]"
            return BackendAbility(name=self.name, devices=(), formats=self.formats, reason=reason)
        import onnxruntime

        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        return BackendAbility(name=self.name, devices=("cpu", "cuda") if cuda else ("cpu",), formats=self.formats)

    def load(self, path: Path, manifest: Manifest, *, device: str, threads: int) -> CpuSession | CudaSession:
        """Load a graph; InvalidInput where it is broken or the device is not there."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        kind, _, index = device.partition(":")
        try:
            if kind == "cpu":
                session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                return CpuSession(session, manifest.outputs)
            # Nodes without a CUDA kernel stay on the CPU; a session that got no CUDA at all is refused below.
            provider = ("CUDAExecutionProvider", {"device_id": int(index or 0), "use_tf32": 0})
            session = onnxruntime.InferenceSession(str(path), options, providers=[provider, "CPUExecutionProvider"])
        except _load_errors() as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InvalidInput(f"{path.name} cannot be loaded by ONNX Runtime ({first_line}); export the model again") from None
        if "CUDAExecutionProvider" not in session.get_providers():
            raise InvalidInput(f"ONNX Runtime could not use '{device}'; check the CUDA libraries, or use --device cpu")
        return CudaSession(session, manifest.outputs, device_id=int(index or 0))


class CpuSession:
    """A graph on the CPU."""

    def __init__(self, session: InferenceSession, outputs: tuple[str, ...]) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(outputs)

    def run(self, batch: np.ndarray, mark: Mark | None = None) -> tuple[np.ndarray, ...]:
        """See `backends.base.Session.run`."""
        raw = tuple(self._session.run(self._outputs, {self._input: batch}))
        if mark is not None:
            mark("forward")
        return raw

    def close(self) -> None:
        """Release the graph."""
        del self._session


class CudaSession:
    """A graph on a CUDA device, with the copies told apart from the run."""

    def __init__(self, session: InferenceSession, outputs: tuple[str, ...], *, device_id: int) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(outputs)
        self._device_id = device_id

    def run(self, batch: np.ndarray, mark: Mark | None = None) -> tuple[np.ndarray, ...]:
        """See `backends.base.Session.run`."""
        import onnxruntime

        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, onnxruntime.OrtValue.ortvalue_from_numpy(batch, "cuda", self._device_id))
        for name in self._outputs:
            binding.bind_output(name, "cuda", self._device_id)
        binding.synchronize_inputs()
        _end(mark, "h2d")
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        _end(mark, "forward")
        raw = tuple(binding.copy_outputs_to_cpu())
        _end(mark, "d2h")
        return raw

    def close(self) -> None:
        """Release the graph and its device memory."""
        del self._session


def _end(mark: Mark | None, stage: str) -> None:
    if mark is not None:
        mark(stage)


def _load_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a file that it cannot use."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.InvalidArgument, state.NotImplemented)
