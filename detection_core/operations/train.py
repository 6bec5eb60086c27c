"""Train: a detector on the train split, chosen on val, kept as safetensors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection_core.benchmark.environment import environment_record
from detection_core.build import build_adapter, find_detector, load_checkpoint, make_manifest, save_checkpoint
from detection_core.catalogue.recipes import recipe_for
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.evaluation.evaluator import evaluate_model
from detection_core.models.adapter import DetectorAdapter
from detection_core.operations.context import JobContext, Stopped
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import FileRole, OutputFile
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CheckpointResult, CocoMetrics, TrainResult
from detection_core.schemas.specs import TrainSpec
from detection_core.training.batches import TrainingBatches
from detection_core.training.ema import WeightAverage
from detection_core.training.hooks import Journal, StateSaving, StopOnRequest, StopRequested, Validation, epoch_position
from detection_core.training.loop import Run, run_training
from detection_core.training.state import load_state, save_state

STATE_FILE = "state.tar"


@dataclass(frozen=True)
class Job:
    """What a training job works with: spec and surroundings, data, and what will be written into its files."""

    spec: TrainSpec
    context: JobContext
    dataset: DetectionDataset
    val: tuple[ImageRecord, ...]
    manifest: Manifest


def run(spec: TrainSpec, context: JobContext) -> TrainResult:
    """Train and leave `best.safetensors`, `last.safetensors` and, on the way, `state.tar`.

    Both checkpoints hold averaged weights: `best` those with the highest AP on val, `last` those at the end. Without a val
    split they are the same and have no numbers.

    Raises:
        InvalidInput: unknown detector, wrong options, no training images, a state or weights that do not fit.
        TrainingDiverged: the loss is no number any more.
        Stopped: the job was told to stop; `state.tar` holds what the next attempt needs.
    """
    recipe = recipe_for(find_detector(spec.model), spec.recipe)
    torch.set_num_threads(spec.threads)
    context.events.progress(0.0, "reading the data set")
    dataset = context.dataset(spec.dataset)
    adapter = build_adapter(spec.model, classes=dataset.classes, input_size=recipe.input_size, options=recipe.model_options)
    job = Job(spec, context, dataset, dataset.split("val"), make_manifest(adapter, dataset_sha256=dataset.content_hash))
    batches = TrainingBatches(
        dataset, dataset.require_split("train"), adapter.input, recipe.augmentation, batch_size=recipe.batch_size, seed=recipe.seed
    )
    training = prepare(adapter, recipe, batches.steps_per_epoch, job)
    try:
        last_metrics = _train(training, batches, job)
    except StopRequested:
        raise Stopped from None
    return _result(training, job, last_metrics)


def prepare(adapter: DetectorAdapter, recipe: Recipe, steps_per_epoch: int, job: Job) -> Run:
    """Return a training at its start, or where the state to resume left it."""
    torch.manual_seed(recipe.seed)
    model = adapter.build()
    if job.spec.weights is not None:
        _, other, _ = load_checkpoint(job.context.resolve(job.spec.weights))
        _start_from(model, other.state_dict(), job)
    model = model.to(_device(job.spec.device)).to(memory_format=torch.channels_last)
    training = Run(
        adapter=adapter,
        model=model,
        average=WeightAverage(model, recipe.ema_decay),
        optimizer=torch.optim.AdamW(adapter.param_groups(model, recipe.lr, recipe.weight_decay)),
        recipe=recipe,
        steps_per_epoch=steps_per_epoch,
    )
    if job.spec.resume is not None:
        found = job.context.resolve(job.spec.resume)
        load_state(found / STATE_FILE if found.is_dir() else found, training, job.manifest)
    training.started = time.monotonic()
    return training


def _train(training: Run, batches: TrainingBatches, job: Job) -> CocoMetrics | None:
    """Train to the end and return the numbers of the last weights; the state is saved when the job is told to stop."""
    events = job.context.events

    def save(run: Run) -> None:
        path = job.context.out / STATE_FILE
        save_state(path, run, job.manifest)
        events.state(job.context.emit("training_state", path))

    def evaluate(model: nn.Module) -> CocoMetrics:
        def on_image(done: int) -> None:
            if job.context.stop():
                raise StopRequested
            journal.validating(training, done, len(job.val))

        metrics, _ = evaluate_model(
            training.adapter,
            model,
            job.dataset,
            job.val,
            threads=job.spec.threads,
            postprocessing=job.manifest.postprocessing,
            on_image=on_image,
        )
        return metrics

    journal, saving, stop = Journal(events), StateSaving(save), StopOnRequest(job.context.stop)
    validation = Validation(evaluate, images=len(job.val)) if job.val else None
    if validation is None:
        events.warning(f"data set '{job.dataset.name}' has no val split: nothing can be chosen, so best and last are the same")
    try:
        run_training(training, batches.epoch, [*([validation] if validation else []), journal, saving, stop])
        metrics = validation.finish(training) if validation else None
    except StopRequested:
        saving.save(training)
        raise
    journal.record(training)
    return metrics


def _result(training: Run, job: Job, last_metrics: CocoMetrics | None) -> TrainResult:
    weights = training.average.model.state_dict()
    last_epoch = epoch_position(training)
    best = training.best
    best_file = _write(job, "checkpoint_best", best.weights if best else weights)
    last_file = _write(job, "checkpoint_last", weights)
    job.context.events.progress(1.0, "done")
    return TrainResult(
        best=CheckpointResult(
            path=best_file.path,
            sha256=best_file.sha256,
            epoch=best.epoch if best else last_epoch,
            metrics=best.metrics if best else None,
        ),
        last=CheckpointResult(path=last_file.path, sha256=last_file.sha256, epoch=last_epoch, metrics=last_metrics),
        manifest=job.manifest,
        recipe=training.recipe,
        dataset_sha256=job.dataset.content_hash,
        steps=training.step,
        epochs=last_epoch,
        seconds=training.elapsed_s,
        images_per_s=training.images_per_s,
        history=tuple(training.history),
        environment=environment_record(device=job.spec.device, threads=job.spec.threads),
        files=(best_file, last_file),
    )


def _write(job: Job, role: FileRole, weights: Mapping[str, Tensor]) -> OutputFile:
    path = job.context.out / f"{role.removeprefix('checkpoint_')}.safetensors"
    save_checkpoint(path, weights, job.manifest)
    return job.context.emit(role, path)


def _start_from(model: nn.Module, tensors: Mapping[str, Tensor], job: Job) -> None:
    """Take over the weights that fit by name and shape; heads for other classes stay as they are, and that is said."""
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise InvalidInput(f"none of the weights to start from fits {job.spec.model}; give a checkpoint of the same detector")
    model.load_state_dict(fitting, strict=False)
    if left := [name for name in own if name not in fitting]:
        shown = ", ".join(left[:4]) + (", ..." if len(left) > 4 else "")
        job.context.events.warning(
            f"{len(left)} of {len(own)} weights of {job.spec.model} are not in the checkpoint and start at random: {shown}"
        )


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidInput(f"device '{name}' is not there; use 'cpu', or a machine with a CUDA device")
    if name.startswith("cuda"):
        # The evaluation on val sets this for the whole process; a resumed training must not begin with another arithmetic.
        torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    return torch.device(name)
