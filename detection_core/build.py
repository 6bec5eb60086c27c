"""From a catalogue entry to a network, and from a network to a file and back. Only safetensors are read: a pickle can run code."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.layouts import LAYOUTS, PICKLE_HEADS
from detection_core.catalogue.specs import Detector
from detection_core.models.adapter import DetectorAdapter
from detection_core.schemas.base import InvalidInput, explain
from detection_core.schemas.manifest import InputPolicy, Manifest, Postprocessing

MANIFEST_KEY = "paretobox_manifest"
# Options of a catalogue entry that belong to its input, not to its adapter.
POLICY_OPTIONS = ("mean", "std", "channel_order")


def find_detector(name: str) -> Detector:
    """Return the catalogue entry; raises InvalidInput with the names there are."""
    if name not in DETECTORS:
        raise InvalidInput(f"there is no detector named {name!r}; use one of {', '.join(DETECTORS)}")
    return DETECTORS[name]


def build_adapter(
    name: str, *, classes: tuple[str, ...], input_size: int | None = None, options: dict[str, Any] | None = None
) -> DetectorAdapter:
    """Return the adapter of a catalogue entry.

    Args:
        name: key of DETECTORS.
        classes: class names in the order of the labels; at least one.
        input_size: side of the square input in pixels; None takes the entry's.
        options: replaces single options of the entry.

    Raises:
        InvalidInput: no such detector, no class, an unknown option or a wrong value.
    """
    detector = find_detector(name)
    if not classes:
        raise InvalidInput(f"{name} needs at least one class; the data set names none")
    side = input_size or detector.input_size
    policy = InputPolicy.parse({"height": side, "width": side, "resize": detector.resize, **_own_policy(detector)})
    return _make_adapter(detector.builder, name, classes, policy, {**_own_options(detector), **(options or {})})


def adapter_from_manifest(manifest: Manifest) -> DetectorAdapter:
    """Return the adapter that the file of `manifest` was made with; raises InvalidInput where the catalogue does not know it.

    A file from elsewhere has a name of its own: there the family is one of LAYOUTS and tells the adapter.
    """
    if manifest.family in LAYOUTS and manifest.model not in DETECTORS:
        builder = LAYOUTS[manifest.family].builder
    else:
        builder = find_detector(manifest.model).builder
    return _make_adapter(builder, manifest.model, manifest.classes, manifest.input, manifest.options)


def make_manifest(
    adapter: DetectorAdapter,
    *,
    format: str = "safetensors",
    dtype: str = "fp32",
    dataset_sha256: str | None = None,
    parent_sha256: str | None = None,
) -> Manifest:
    """Return the manifest of a file that holds this adapter's network. Parameters and MACs are counted, not looked up."""
    detector = find_detector(adapter.name)
    params_m, macs_g = measure(adapter)
    return Manifest.parse(
        {
            "format": format,
            "model": adapter.name,
            "family": detector.family,
            "stages": detector.stages,
            "classes": adapter.classes,
            "input": adapter.input.to_dict(),
            "dtype": dtype,
            "outputs": adapter.output_names,
            "nms_in_graph": adapter.nms_in_graph,
            "postprocessing": Postprocessing(nms_thresh=adapter.options.get("nms_thresh", detector.nms_thresh)).to_dict(),
            "options": adapter.options,
            "licence": detector.licence,
            "params_m": params_m,
            "macs_g": macs_g,
            "parent_sha256": parent_sha256,
            "dataset_sha256": dataset_sha256,
        }
    )


def measure(adapter: DetectorAdapter) -> tuple[float, float]:
    """Count parameters (millions) and multiply-accumulates of one image (billions) on the meta device: nothing is computed.

    Both are of what detects, not of what is only there for training.
    """
    with torch.device("meta"):
        model = adapter.build().eval()
        images = torch.empty(1, 3, adapter.input.height, adapter.input.width)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        adapter.count_forward(model, images)
    params = sum(parameter.numel() for parameter in adapter.export_module(model).parameters())
    return round(params / 1e6, 6), round(counter.get_total_flops() / 2 / 1e9, 6)


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write weights with their manifest inside, by rename; equal weights and manifest give equal bytes."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(checkpoint_bytes(state_dict, manifest))
    part.replace(path)


def checkpoint_bytes(state_dict: Mapping[str, Tensor], manifest: Manifest) -> bytes:
    """Return the bytes that `save_checkpoint` writes."""
    tensors = {name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, tensor in state_dict.items()}
    return save(tensors, metadata={MANIFEST_KEY: manifest.model_dump_json()})


def load_checkpoint(path: Path) -> tuple[DetectorAdapter, nn.Module, Manifest]:
    """Build the network of a checkpoint and load its weights.

    Returns:
        The adapter, the model in eval mode on the CPU, and the manifest.

    Raises:
        InvalidInput: a pickle, a broken or foreign file, or weights that are not this network's.
    """
    manifest = read_manifest(path)
    if manifest.format != "safetensors":
        raise InvalidInput(f"{path.name} is an exported {manifest.format} file; give the checkpoint (.safetensors) it was made from")
    adapter = adapter_from_manifest(manifest)
    model = adapter.build()
    load_weights(model, _read_tensors(path), name=path.name)
    return adapter, model.eval(), manifest


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, name: str) -> None:
    """Put `tensors` into `model`; raises InvalidInput where a name or a shape is not the model's."""
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError:
        raise InvalidInput(
            f"the weights in {name} do not belong to the network that its manifest names; train or download it again"
        ) from None


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a .safetensors or .onnx file without building anything.

    Raises:
        InvalidInput: no such file, a pickle, a broken file, or one without our manifest.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no model file {path}; correct the path")
    with path.open("rb") as file:
        head = file.read(8)
    if is_pickle(head):
        raise InvalidInput(f"{path.name} is a pickle (.pt, .pth), and opening one can run any code; give a .safetensors or an .onnx file")
    metadata = _safetensors_metadata(path) if _is_safetensors(path, head) else _onnx_metadata(path)
    if MANIFEST_KEY not in metadata:
        raise InvalidInput(f"{path.name} holds no manifest, so it was not made here; give a file from a training or an export")
    return Manifest.parse(metadata[MANIFEST_KEY])


def _make_adapter(builder: str, name: str, classes: tuple[str, ...], policy: InputPolicy, options: dict[str, Any]) -> DetectorAdapter:
    module, _, attribute = builder.partition(":")
    adapter_type = getattr(importlib.import_module(module), attribute)
    known = {field.name for field in fields(adapter_type)} - {"name", "classes", "input"}
    if unknown := sorted(set(options) - known):
        remedy = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise InvalidInput(f"{name} has no option {', '.join(unknown)}; {remedy}")
    try:
        return TypeAdapter(adapter_type).validate_python({**options, "name": name, "classes": tuple(classes), "input": policy})
    except ValidationError as error:
        raise InvalidInput(explain(error, what=f"options of {name}")) from None


def _own_options(detector: Detector) -> dict[str, Any]:
    return {key: value for key, value in detector.options.items() if key not in POLICY_OPTIONS}


def _own_policy(detector: Detector) -> dict[str, Any]:
    return {key: detector.options[key] for key in POLICY_OPTIONS if key in detector.options}


def is_pickle(head: bytes) -> bool:
    """Say whether a file that begins with `head` (8 bytes) is one, or PyTorch's zip of one."""
    return head.startswith(PICKLE_HEADS)


def _is_safetensors(path: Path, head: bytes) -> bool:
    """A length, then JSON: the first 8 bytes are a little-endian count that must fit into the file."""
    return path.suffix == ".safetensors" or (len(head) == 8 and struct.unpack("<Q", head)[0] + 8 <= path.stat().st_size)


def _safetensors_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        raise InvalidInput(f"{path.name} is not a readable safetensors file; download it again") from None


def _onnx_metadata(path: Path) -> dict[str, str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError):
        raise InvalidInput(f"{path.name} is neither a safetensors checkpoint nor an ONNX file; give one of these") from None
    return {entry.key: entry.value for entry in model.metadata_props}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
