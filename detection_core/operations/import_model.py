"""Make a model out of a file that was trained elsewhere: check it, run it once, write a manifest into it. No pickled code is run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from detection_core.benchmark.environment import environment_record
from detection_core.build import MANIFEST_KEY, build_adapter, is_pickle, make_manifest, save_checkpoint
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.layouts import LAYOUTS
from detection_core.export.foreign_graph import graph_dtype, parameters, read_graph, run_once
from detection_core.export.parity import generated_batches
from detection_core.models.fastestdet import FastestDetAdapter, from_upstream
from detection_core.models.foreign import fit_outputs
from detection_core.operations.context import JobContext, file_sha256
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import OutputFile
from detection_core.schemas.manifest import NO_NMS, InputPolicy, Manifest, Postprocessing
from detection_core.schemas.results import ImportModelResult
from detection_core.schemas.specs import ImportModelSpec

FASTESTDET = "fastestdet"
MAX_WEIGHTS_BYTES = 256 << 20


def run(spec: ImportModelSpec, context: JobContext) -> ImportModelResult:
    """Write `model.onnx` (role `exported_model`), or `model.safetensors` (role `checkpoint_best`) for FastestDet's PyTorch weights.

    The graph stays as it is; only the manifest is added to its metadata. Weights are read as tensors alone and become a checkpoint
    that can be evaluated, exported and trained further.

    Raises:
        InvalidInput: the file is not what the spec says it is, or would run code; one sentence with the remedy.
    """
    torch.set_num_threads(spec.threads)
    classes = mapped_classes(spec)
    _check_name(spec)
    path = context.resolve(spec.file)
    context.events.progress(0.0, "checking the file")
    if not path.is_file():
        raise InvalidInput(f"{path.name} is a folder; give the model file itself")
    with path.open("rb") as file:
        pickled = is_pickle(file.read(8))
    source = file_sha256(path)
    written, manifest, outputs = (_import_weights if pickled else _import_graph)(spec, path, classes, source, context)
    context.events.progress(1.0, "done")
    return ImportModelResult(
        path=written.path,
        sha256=written.sha256,
        manifest=manifest,
        source_sha256=source,
        outputs={name: tuple(values.shape) for name, values in outputs.items()},
        environment=environment_record("cpu", spec.threads),
        files=(written,),
    )


def mapped_classes(spec: ImportModelSpec) -> tuple[str, ...]:
    """Return the file's classes under the names that data sets use; raises InvalidInput where these are not one name for each."""
    if absent := sorted(set(spec.class_map) - set(spec.classes)):
        raise InvalidInput(f"class_map renames {', '.join(absent)}, which the file's classes do not name; correct the spelling")
    classes = tuple(spec.class_map.get(name, name).strip() for name in spec.classes)
    if not all(classes):
        raise InvalidInput("a class has no name; give each class of the file a name")
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise InvalidInput(f"more than one class would be called {', '.join(repeated)}; give each class a name of its own")
    return classes


def _check_name(spec: ImportModelSpec) -> None:
    if spec.name in DETECTORS and not (spec.layout == spec.name == FASTESTDET):
        raise InvalidInput(f"{spec.name} is a detector of the catalogue, and the file is another one; choose another name for it")


def _import_graph(
    spec: ImportModelSpec, path: Path, classes: tuple[str, ...], source: str, context: JobContext
) -> tuple[OutputFile, Manifest, dict[str, np.ndarray]]:
    graph = read_graph(path)
    policy = _policy(spec, graph.height, graph.width, path.name)
    context.raise_if_stopped()
    context.events.progress(0.3, "running it on a generated picture")
    outputs = run_once(graph.model, generated_batches(policy, count=1)[0], name=path.name, threads=spec.threads)
    names, options = fit_outputs(spec.layout, outputs, classes=len(classes), policy=policy)
    manifest = Manifest.parse(
        {
            "format": "onnx",
            "model": spec.name,
            "family": spec.layout,
            "stages": LAYOUTS[spec.layout].stages,
            "classes": classes,
            "input": policy.to_dict(),
            "dtype": graph_dtype(graph.model),
            "outputs": names,
            "nms_in_graph": LAYOUTS[spec.layout].nms_thresh is None,
            "postprocessing": _postprocessing(spec).to_dict(),
            "options": options,
            "licence": spec.licence,
            "params_m": round(parameters(graph.model) / 1e6, 6),
            "parent_sha256": source,
        }
    )
    properties = {entry.key: entry.value for entry in graph.model.metadata_props}
    onnx.helper.set_model_props(graph.model, properties | {MANIFEST_KEY: manifest.model_dump_json()})
    written = context.out / "model.onnx"
    part = written.with_name(written.name + ".part")
    part.write_bytes(graph.model.SerializeToString(deterministic=True))
    part.replace(written)
    return context.emit("exported_model", written), manifest, {name: outputs[name] for name in names}


def _import_weights(
    spec: ImportModelSpec, path: Path, classes: tuple[str, ...], source: str, context: JobContext
) -> tuple[OutputFile, Manifest, dict[str, np.ndarray]]:
    if spec.layout != FASTESTDET:
        raise InvalidInput(
            f"{path.name} is a pickle (.pt, .pth), and opening one can run any code; export the model as .onnx where it was trained"
        )
    tensors = from_upstream(_tensors(path))
    own = DETECTORS[FASTESTDET].input_size
    policy = _policy(spec, spec.input_height or own, spec.input_width or own, path.name)
    built = build_adapter(FASTESTDET, classes=classes)
    adapter = FastestDetAdapter(name=spec.name, classes=classes, input=policy)
    model = adapter.build()
    _require_fit(model.state_dict(), tensors, len(classes), path.name)
    model.load_state_dict(tensors)
    context.raise_if_stopped()
    context.events.progress(0.5, "running it on a generated picture")
    with torch.inference_mode():
        raw = adapter.forward(model.eval(), torch.from_numpy(generated_batches(policy, count=1)[0]))
    outputs = {name: output.numpy() for name, output in zip(adapter.output_names, raw, strict=True)}
    fit_outputs(spec.layout, outputs, classes=len(classes), policy=policy)
    counted = make_manifest(FastestDetAdapter(name=built.name, classes=classes, input=policy), parent_sha256=source)
    changes: dict[str, Any] = {"model": spec.name, "licence": spec.licence, "postprocessing": _postprocessing(spec)}
    manifest = Manifest.parse(counted.model_copy(update=changes).to_dict())
    written = context.out / "model.safetensors"
    save_checkpoint(written, model.state_dict(), manifest)
    return context.emit("checkpoint_best", written), manifest, outputs


def _tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict as tensors alone; what would need code to be built is refused by torch's own restricted reader."""
    refusal = InvalidInput(
        f"{path.name} is a pickle that holds more than named tensors, and opening it could run any code; "
        "save the weights alone with torch.save(model.state_dict(), FILE)"
    )
    if not zipfile.is_zipfile(path):
        raise refusal
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_WEIGHTS_BYTES:
            raise InvalidInput(f"{path.name} holds {size >> 20} MiB, and weights of FastestDet are a few; give the weights alone")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except InvalidInput:
        raise
    except Exception:  # the readers of zip and pickle raise whatever a crafted file makes them trip over
        raise refusal from None
    plain = isinstance(found, dict) and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items())
    if not plain or not found:
        raise refusal
    return found


def _require_fit(own: dict[str, Tensor], tensors: dict[str, Tensor], classes: int, name: str) -> None:
    """Refuse weights that are not the network's, before anything is made of them: a file of a few bytes may tell of tensors of any size."""
    last = tensors.get("head.classes.3.weight")
    if last is not None and last.shape[:1] and last.shape[0] != classes:
        raise InvalidInput(
            f"the weights in {name} are of {last.shape[0]} classes, and {classes} were given; give the names of those it has"
        )
    missing, foreign = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    if missing or foreign:
        what = f"lack {missing[0]}" if missing else f"hold {foreign[0]}, which FastestDet has not"
        raise InvalidInput(f"the weights in {name} are not FastestDet's: they {what}; give the .pth that its training saves")
    for key, tensor in own.items():
        if tensor.shape != tensors[key].shape:
            shapes = f"{list(tensors[key].shape)} where {list(tensor.shape)} is needed"
            raise InvalidInput(f"the weights in {name} are not FastestDet's: {key} is {shapes}; give the .pth that its training saves")
        if not _stored_whole(tensors[key]):
            raise InvalidInput(f"{key} in {name} is no plain tensor with a number for each element; save model.state_dict() as it is")


def _stored_whole(tensor: Tensor) -> bool:
    """Say whether a tensor is of ordinary numbers, and the file holds one for each of its elements: views may tell of far more."""
    ordinary = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_complex() and tensor.device.type == "cpu"
    return ordinary and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _policy(spec: ImportModelSpec, height: int | None, width: int | None, name: str) -> InputPolicy:
    layout = LAYOUTS[spec.layout]
    sides = {"height": height or spec.input_height, "width": width or spec.input_width}
    for side, wanted in (("height", spec.input_height), ("width", spec.input_width)):
        if sides[side] is None:
            raise InvalidInput(f"{name} leaves the {side} of its input open; give input_{side} in pixels")
        if wanted is not None and wanted != sides[side]:
            raise InvalidInput(f"input_{side} is {wanted} and the {side} of the input in {name} is {sides[side]}; leave input_{side} out")
    told = {key: getattr(spec, key) or getattr(layout, key) for key in ("resize", "channel_order", "mean", "std")}
    if not all(told["std"]):
        raise InvalidInput("std has a 0, and pixels are divided by it; give the standard deviation of each channel")
    return InputPolicy.parse({**sides, **told, "pad_value": layout.pad_value})


def _postprocessing(spec: ImportModelSpec) -> Postprocessing:
    own = LAYOUTS[spec.layout].nms_thresh
    if own is None:
        if spec.nms_thresh is not None:
            raise InvalidInput(f"no NMS follows layout {spec.layout}, so nms_thresh changes nothing; leave it out")
        return Postprocessing(nms_thresh=NO_NMS)
    return Postprocessing(nms_thresh=own if spec.nms_thresh is None else spec.nms_thresh)
