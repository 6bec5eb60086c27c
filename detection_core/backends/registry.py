"""The backends by name. Only `get_backend` imports one; a new backend is one module and one line here."""

from __future__ import annotations

from importlib import import_module

from detection_core.backends.base import Backend
from detection_core.schemas.base import InvalidInput

BACKENDS: dict[str, str] = {
    "eager": "detection_core.backends.eager:EagerBackend",
    "onnxruntime": "detection_core.backends.onnxruntime:OnnxRuntimeBackend",
    "null": "detection_core.backends.null:NullBackend",
}


def get_backend(name: str) -> Backend:
    """Return the backend called `name`; InvalidInput where there is none."""
    if name not in BACKENDS:
        raise InvalidInput(f"there is no backend '{name}'; use one of {', '.join(BACKENDS)}")
    module, _, kind = BACKENDS[name].partition(":")
    return getattr(import_module(module), kind)()
