"""Turn a checkpoint into a file for another runtime and measure how far it is from the checkpoint."""

from __future__ import annotations

import torch

from detection_core.benchmark.environment import environment_record
from detection_core.build import load_checkpoint
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.export.parity import generated_batches, max_abs_difference
from detection_core.operations.context import JobContext, file_sha256
from detection_core.schemas.results import ExportResult
from detection_core.schemas.specs import ExportSpec

PARITY_IMAGES = 3
SUSPICIOUS = 0.05  # in score or pixels: far over what rounding does, far under what a wrong graph does


def run(spec: ExportSpec, context: JobContext) -> ExportResult:
    """Write `model.onnx` into the job's folder.

    Raises:
        InvalidInput: the checkpoint is broken or not one of ours.
    """
    torch.set_num_threads(spec.threads)
    checkpoint = context.resolve(spec.checkpoint)
    context.events.progress(0.0, "reading the checkpoint")
    adapter, model, manifest = load_checkpoint(checkpoint)
    manifest = onnx_manifest(manifest, parent_sha256=file_sha256(checkpoint))
    context.raise_if_stopped()
    context.events.progress(0.1, "writing the ONNX graph")
    path = context.out / "model.onnx"
    export_onnx(adapter, model, manifest, path)
    context.raise_if_stopped()
    context.events.progress(0.7, "comparing its outputs with the checkpoint's")
    batches = generated_batches(manifest.input, count=PARITY_IMAGES, seed=1)
    difference = max_abs_difference(adapter, model, manifest, path, threads=spec.threads, batches=batches)
    if difference > SUSPICIOUS:
        context.events.warning(f"a raw output of the exported file differs by {difference:.3g} from the checkpoint's; compare their AP")
    file = context.emit("exported_model", path)
    return ExportResult(
        path=file.path,
        sha256=file.sha256,
        manifest=manifest,
        max_abs_difference=difference,
        environment=environment_record("cpu", spec.threads),
        files=(file,),
    )
