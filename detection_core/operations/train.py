"""Train: a detector on the train split, chosen on val, kept as safetensors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection_core.benchmark.environment import cpu_info, environment_record
from detection_core.build import build_adapter, find_detector, load_checkpoint, make_manifest, save_checkpoint
from detection_core.catalogue.recipes import recipe_for
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.evaluation.evaluator import evaluate_model
from detection_core.models.adapter import DetectorAdapter, at_size
from detection_core.operations.context import JobContext, Stopped
from detection_core.operations.published_weights import published_weights
from detection_core.operations.samples import Samples
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import PUBLISHED, FileRole, InputFile, OutputFile
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CheckpointResult, CocoMetrics, TrainResult
from detection_core.schemas.specs import TrainSpec
from detection_core.training.batches import TrainingBatches, scaled_inputs
from detection_core.training.ema import WeightAverage
from detection_core.training.freezing import freeze
from detection_core.training.hooks import Journal, StateSaving, StopOnRequest, StopRequested, Validation, epoch_position
from detection_core.training.loop import Ended, Run, run_training
from detection_core.training.state import load_state, save_state

STATE_FILE = "state.tar"
# Of the instruction sets that the environment record knows: those that multiply bf16.
CPU_BF16 = frozenset({"avx512_bf16", "amx_bf16"})


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
    _require_possible(recipe, job, adapter)
    batches = TrainingBatches(
        dataset,
        dataset.require_split("train"),
        adapter.input,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        workers=spec.data_workers,
        cache_bytes=spec.cache_mb << 20,
    )
    training = prepare(adapter, recipe, batches.steps_per_epoch, job)
    try:
        ended, last_metrics = _train(training, batches, job)
    except StopRequested:
        raise Stopped from None
    _tell_end(ended, training, job)
    return _result(training, job, ended, last_metrics)


def _require_possible(recipe: Recipe, job: Job, adapter: DetectorAdapter) -> None:
    """Raise InvalidInput where data, device or detector cannot do what the recipe asks, before anything is trained."""
    if recipe.early_stop is not None and not job.val:
        raise InvalidInput(
            f"data set '{job.dataset.name}' has no val split, so no AP can tell when to stop; leave 'early_stop' out, or add val images"
        )
    _require_dtype(recipe.dtype, _device(job.spec.device))
    scales = scaled_inputs(adapter.input, recipe.augmentation.multi_scale)
    for policy in (scales[0], scales[-1]):
        at_size(adapter, policy.height, policy.width)


def prepare(adapter: DetectorAdapter, recipe: Recipe, steps_per_epoch: int, job: Job) -> Run:
    """Return a training at its start, or where the state to resume left it."""
    torch.manual_seed(recipe.seed)
    model = adapter.build()
    if job.spec.weights is not None:
        _start_from(model, _weights(job.spec.weights, job), job)
    model = model.to(_device(job.spec.device)).to(memory_format=torch.channels_last)
    frozen = freeze(model, recipe.freeze)
    training = Run(
        adapter=adapter,
        model=model,
        average=WeightAverage(model, recipe.ema_decay),
        optimizer=torch.optim.AdamW(adapter.param_groups(model, recipe.lr, recipe.weight_decay)),
        recipe=recipe,
        steps_per_epoch=steps_per_epoch,
        frozen=frozen,
        scaler=torch.amp.GradScaler(job.spec.device.partition(":")[0], enabled=recipe.dtype == "fp16"),
    )
    if job.spec.resume is not None:
        found = job.context.resolve(job.spec.resume)
        load_state(found / STATE_FILE if found.is_dir() else found, training, job.manifest)
    training.started = time.monotonic()
    return training


def _train(training: Run, batches: TrainingBatches, job: Job) -> tuple[Ended, CocoMetrics | None]:
    """Train to the end; return what ended it and the numbers of the last weights. The state is saved when the job is told to stop."""
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

        found = evaluate_model(
            training.adapter,
            model,
            job.dataset,
            job.val,
            threads=job.spec.threads,
            postprocessing=job.manifest.postprocessing,
            on_image=on_image,
        )
        samples.show(found.detections, step=training.step, epoch=epoch_position(training))
        return found.metrics

    samples = Samples(job.dataset, job.val, events)
    journal, saving, stop = Journal(events), StateSaving(save), StopOnRequest(job.context.stop)
    validation = Validation(evaluate, images=len(job.val)) if job.val else None
    if validation is None:
        events.warning(f"data set '{job.dataset.name}' has no val split: nothing can be chosen, so best and last are the same")
    try:
        ended = run_training(training, batches.epoch, [*([validation] if validation else []), journal, saving, stop])
        metrics = validation.finish(training) if validation else None
    except StopRequested:
        saving.save(training)
        raise
    journal.record(training)
    return ended, metrics


def _tell_end(ended: Ended, training: Run, job: Job) -> None:
    """Warn where a training ended before its last epoch in a way that its reader should know."""
    if ended == "early_stop":
        job.context.events.warning(
            f"stopped early at epoch {epoch_position(training):g}: {training.stale} evaluations in a row without a better AP on val"
        )
    if ended == "time" and training.step < training.steps_per_epoch:
        job.context.events.warning(
            f"the {training.recipe.max_minutes:g} min ended when {training.images} of {len(job.dataset.split('train'))} training images "
            "had been seen, none of them twice: raise 'max_minutes', or lower 'input_size', or take a smaller detector"
        )


def _result(training: Run, job: Job, ended: Ended, last_metrics: CocoMetrics | None) -> TrainResult:
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
        waiting_share=training.waiting_share,
        ended=ended,
        history=tuple(training.history),
        environment=environment_record(device=job.spec.device, threads=job.spec.threads),
        files=(best_file, last_file),
    )


def _write(job: Job, role: FileRole, weights: Mapping[str, Tensor]) -> OutputFile:
    path = job.context.out / f"{role.removeprefix('checkpoint_')}.safetensors"
    save_checkpoint(path, weights, job.manifest)
    return job.context.emit(role, path)


def _weights(file: InputFile, job: Job) -> Mapping[str, Tensor]:
    if file.ref == PUBLISHED:
        return published_weights(find_detector(job.spec.model), cache=job.context.cache)
    _, other, _ = load_checkpoint(job.context.resolve(file))
    return other.state_dict()


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
            f"{len(left)} of {len(own)} weights of {job.spec.model} are not among those to start from and begin at random: {shown}"
        )


def _require_dtype(dtype: str, device: torch.device) -> None:
    if dtype == "fp16" and device.type != "cuda":
        raise InvalidInput(
            "dtype 'fp16' needs a CUDA device, since its gradients are scaled there; use 'fp32', or 'bf16' where the CPU has it"
        )
    if dtype != "bf16":
        return
    on_gpu = device.type == "cuda"
    has_it = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else not CPU_BF16.isdisjoint(cpu_info()["instruction_sets"])
    if not has_it:
        raise InvalidInput(
            f"this {'GPU' if on_gpu else 'CPU'} has no instructions for bf16, without which it is only slower; use dtype 'fp32', or a "
            "machine that has them"
        )


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidInput(f"device '{name}' is not there; use 'cpu', or a machine with a CUDA device")
    if name.startswith("cuda"):
        # The evaluation on val sets this for the whole process; a resumed training must not begin with another arithmetic.
        torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    return torch.device(name)
