"""The resumable state of a training: one .tar of safetensors and JSON, no pickle, equal states in equal bytes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detection_core.build import load_weights
from detection_core.nn.balance import Balance
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import CocoMetrics
from detection_core.training.loop import Best, Run

# A training that goes on must agree in all other settings, or its recipe would not tell how it was made; time and epochs may be raised.
FREE_SETTINGS = ("schema_version", "epochs", "max_minutes", "eval_every", "early_stop", "state_every_s")


class BestNote(Schema):
    """What the state says about the best weights, which lie beside it."""

    metrics: CocoMetrics
    epoch: float


class Position(Schema):
    """Where a training stands, and what it is a training of."""

    schema_version: int = Field(default=1, ge=1, le=1)
    manifest: Manifest
    recipe: Recipe
    steps_per_epoch: int
    step: int
    epoch: int
    step_in_epoch: int
    images: int
    elapsed_s: float
    reserve_s: float
    epoch_sums: dict[str, float]
    history: tuple[dict[str, Any], ...]
    best: BestNote | None
    closing: bool = False
    stale: int = 0
    balance: dict[str, tuple[float, ...]] | None = None
    scaler: dict[str, int | float] = {}


def save_state(path: Path, run: Run, manifest: Manifest) -> None:
    """Write everything that `run` needs to go on, by rename."""
    position = Position(
        manifest=manifest,
        recipe=run.recipe,
        steps_per_epoch=run.steps_per_epoch,
        step=run.step,
        epoch=run.epoch,
        step_in_epoch=run.step_in_epoch,
        images=run.images,
        elapsed_s=run.elapsed_s,
        reserve_s=run.reserve_s,
        epoch_sums=run.epoch_sums,
        history=tuple(run.history),
        best=BestNote(metrics=run.best.metrics, epoch=run.best.epoch) if run.best else None,
        closing=run.closing,
        stale=run.stale,
        balance={name: tuple(values.tolist()) for name, values in vars(run.balance).items()} if run.balance else None,
        scaler=run.scaler.state_dict(),
    )
    members = {
        "state.json": position.model_dump_json().encode(),
        "model.safetensors": _pack(run.model.state_dict()),
        "average.safetensors": _pack(run.average.model.state_dict()),
        "optimizer.safetensors": _pack(_optimizer_tensors(run.optimizer)),
    }
    if run.best:
        members["best.safetensors"] = _pack(run.best.weights)
    part = path.with_name(path.name + ".part")
    with tarfile.open(part, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    part.replace(path)


def load_state(path: Path, run: Run, manifest: Manifest) -> None:
    """Bring `run` to where the state was saved.

    Raises:
        InvalidInput: no such file, not a state, or one of another model, data set or recipe.
    """
    members = _read_members(path)
    try:
        position = Position.parse(json.loads(members["state.json"]))
        weights = {name: load(members[f"{name}.safetensors"]) for name in ("model", "average", "optimizer")}
        best_weights = load(members["best.safetensors"]) if position.best else {}
    except (KeyError, ValueError, SafetensorError):
        raise _not_a_state(path) from None
    _require_same(position, run, manifest)
    load_weights(run.model, weights["model"], name=path.name)
    load_weights(run.average.model, weights["average"], name=path.name)
    _load_optimizer(run.optimizer, weights["optimizer"], path)
    run.step, run.epoch, run.step_in_epoch, run.images = position.step, position.epoch, position.step_in_epoch, position.images
    run.carried_s, run.carried_images, run.reserve_s = position.elapsed_s, position.images, position.reserve_s
    run.epoch_sums, run.history = dict(position.epoch_sums), list(position.history)
    run.best = Best(best_weights, position.best.metrics, position.best.epoch) if position.best else None
    run.closing, run.stale = position.closing, position.stale
    run.balance = _load_balance(position.balance)
    run.scaler.load_state_dict(position.scaler)


def _load_balance(sums: dict[str, tuple[float, ...]] | None) -> Balance | None:
    return Balance(**{name: torch.tensor(values, dtype=torch.float64) for name, values in sums.items()}) if sums else None


def _pack(tensors: dict[str, Tensor]) -> bytes:
    return save({name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})


def _read_members(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise InvalidInput(f"there is no training state {path}; correct the path")
    try:
        with tarfile.open(path, "r:") as archive:
            return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    except tarfile.TarError:
        raise _not_a_state(path) from None


def _not_a_state(path: Path) -> InvalidInput:
    return InvalidInput(f"{path.name} is not a complete training state; give the state.tar that a training wrote, or start anew")


def _require_same(position: Position, run: Run, manifest: Manifest) -> None:
    differing = [
        name
        for name in ("model", "classes", "input", "options", "dataset_sha256")
        if getattr(position.manifest, name) != getattr(manifest, name)
    ]
    kept = [name for name in Recipe.model_fields if name not in FREE_SETTINGS]
    differing += [name for name in kept if getattr(position.recipe, name) != getattr(run.recipe, name)]
    if position.steps_per_epoch != run.steps_per_epoch:
        differing.append("number of training images")
    if differing:
        raise InvalidInput(
            f"the training state to resume differs from this training in {', '.join(differing)}; start anew, or set them alike"
        )


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the optimizer's tensors `<index of the parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if not index.isdigit() or int(index) >= len(shapes) or (value.ndim and value.shape != shapes[int(index)]):
            raise _not_a_state(path)
        # The weights lie channels last in memory; moments in the same order make the update as fast as before.
        state.setdefault(int(index), {})[name] = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
