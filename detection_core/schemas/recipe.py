"""A recipe: everything besides model and data that decides what a training produces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detection_core.schemas.base import Schema

Probability = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Schema):
    """Random changes of a training image; each draw is seeded by (seed, epoch, index of the image)."""

    flip_horizontal: Probability = 0.5
    flip_vertical: Probability = 0.0
    color: Annotated[float, Field(ge=0, le=1, description="largest relative change of brightness, contrast and saturation")] = 0.3
    scale_min: Annotated[float, Field(gt=0, le=1, description="smallest zoom")] = 0.7
    scale_max: Annotated[float, Field(ge=1, le=4, description="largest zoom")] = 1.4


class Recipe(Schema):
    """Training settings. `max_minutes` bounds the wall time: the learning rate then follows time or steps, whichever is further along."""

    schema_version: Literal[1] = 1
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 12
    max_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 14)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    input_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    lr: Annotated[float, Field(gt=0, le=10)] = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    warmup_fraction: Probability = 0.05
    final_lr_fraction: Probability = 0.02
    grad_clip: Annotated[float, Field(gt=0)] | None = 10.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    eval_every: Annotated[int, Field(ge=1, description="epochs between two evaluations on val")] = 1
    state_every_s: Annotated[float, Field(gt=0, description="seconds between two saved states, at least")] = 30.0
    augmentation: Augmentation = Augmentation()
    model_options: dict[str, Any] = {}
