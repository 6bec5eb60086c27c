"""A recipe: everything besides model and data that decides what a training produces. docs/recipes.md tells each field with its paper."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from detection_core.schemas.base import Schema

Probability = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Schema):
    """Random changes of a training image; each draw is seeded by (seed, epoch, index of the image).

    Probabilities are those of an image. What mixes several images (`mosaic`, `mixup`, `copy_paste`) is left out in the last
    `closing_fraction` of the training. `scale_min` and `scale_max` bound the zoom relative to the fitted size: for pictures from above it
    stands for altitude, since twice the zoom shows the ground as from half the height. `multi_scale` alone is drawn for a batch: the side
    of the input, in multiples of 32 px, within this part of `input_size` to both sides.
    """

    flip_horizontal: Probability = 0.5
    flip_vertical: Probability = 0.0
    color: Annotated[float, Field(ge=0, le=1, description="largest relative change of brightness, contrast and saturation")] = 0.3
    hue: Annotated[float, Field(ge=0, le=0.5, description="largest turn of the hue, in parts of the circle")] = 0.0
    greyscale: Probability = 0.0
    blur: Probability = 0.0
    noise: Annotated[float, Field(ge=0, le=0.5, description="largest standard deviation of noise, in parts of the range of values")] = 0.0
    scale_min: Annotated[float, Field(gt=0, le=1, description="smallest zoom")] = 0.7
    scale_max: Annotated[float, Field(ge=1, le=4, description="largest zoom")] = 1.4
    tile: Probability = 0.0
    iou_crop: Probability = 0.0
    mosaic: Probability = 0.0
    mixup: Probability = 0.0
    copy_paste: Probability = 0.0
    closing_fraction: Probability = 0.1
    multi_scale: Annotated[float, Field(ge=0, le=0.5, description="largest relative change of the side of the input")] = 0.0

    def closed(self) -> Augmentation:
        """Return what is left of it when the training closes: every image by itself."""
        return self.model_copy(update={"mosaic": 0.0, "mixup": 0.0, "copy_paste": 0.0})


class Recipe(Schema):
    """Training settings. `max_minutes` bounds the wall time: the learning rate then follows time or steps, whichever is further along.

    A step takes `accumulate` batches and averages their gradients. `dtype` is that of the forward pass; weights stay fp32. `freeze` names
    parts of the network that are not trained, by the beginning of their weights' names ("backbone", "backbone.body.layer1").
    `early_stop` is after how many evaluations on val in a row without a better AP the training ends.
    """

    schema_version: Literal[1] = 1
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 12
    max_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 14)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    accumulate: Annotated[int, Field(ge=1, le=1024, description="batches of one step")] = 1
    input_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    lr: Annotated[float, Field(gt=0, le=10)] = 1.5e-3
    schedule: Literal["cosine", "linear"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    warmup_fraction: Probability = 0.05
    final_lr_fraction: Probability = 0.02
    grad_clip: Annotated[float, Field(gt=0)] | None = 10.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    freeze: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    eval_every: Annotated[int, Field(ge=1, description="epochs between two evaluations on val")] = 1
    early_stop: Annotated[int, Field(ge=1, le=10_000, description="evaluations without a better AP")] | None = None
    state_every_s: Annotated[float, Field(gt=0, description="seconds between two saved states, at least")] = 30.0
    augmentation: Augmentation = Augmentation()
    model_options: dict[str, Any] = {}

    @field_validator("freeze", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
