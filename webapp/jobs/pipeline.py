"""The pipeline: for each model train, export, and per backend evaluate and time, planned as jobs that wait for one another."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detection_core.assignment.layouts import AnchorOptions, check_anchors, rule_of, variant_of
from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.recipes import recipe_for
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import InputFile, Sha256
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ExportSpec, ImportSpec, TrainSpec
from webapp.jobs.model_files import checkpoint_of_family
from webapp.jobs.services import PlannedJob

PipelineBackend = Literal["eager", "onnxruntime"]
MANY_EPOCHS = 1000  # the minutes end the training, not the epochs
# Fields of a Recipe that a request has by itself, and how it calls them.
IN_REQUEST = {name: name for name in ("seed", "epochs", "input_size", "batch_size")} | {"max_minutes": "minutes"}


class PipelineRequest(Schema):
    """What a person asks for: models on one data set. The data set is a stored version (`dataset_sha256`, of its .tar) or a built-in.

    `recipe` holds further fields of a Recipe for all models, such as augmentation and loss. `model_options` gives single models other
    anchors or another neck than their own. `weights_sha256` is a checkpoint of this site that the one model starts from.
    """

    models: Annotated[tuple[str, ...], Field(min_length=1, max_length=30)]
    dataset_sha256: Sha256 | None = None
    dataset_name: str = ""
    import_ref: str | None = None
    backends: Annotated[tuple[PipelineBackend, ...], Field(min_length=1)] = ("eager", "onnxruntime")
    minutes: Annotated[float, Field(gt=0, le=60 * 24)] | None = 4.0
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    input_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    recipe: dict[str, Any] = {}
    model_options: dict[str, AnchorOptions] = {}
    weights_sha256: Sha256 | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    duration: Literal["quick", "standard", "full"] = "quick"
    split: Literal["val", "test"] = "test"
    lane: Annotated[str, Field(min_length=1, max_length=50)] = "cpu"

    @model_validator(mode="after")
    def _consistent(self) -> PipelineRequest:
        for name in self.models:
            if name not in DETECTORS:
                raise ValueError(f"model '{name}' is not in the catalogue; choose one that /models lists")
        if (self.dataset_sha256 is None) == (self.import_ref is None):
            raise ValueError("give either dataset_sha256 (a stored version) or import_ref (a built-in data set)")
        if self.import_ref is not None and self.import_ref not in DATASETS:
            raise ValueError(f"built-in data set '{self.import_ref}' is not known; use one of {', '.join(DATASETS)}")
        if self.minutes is None and self.epochs is None:
            raise ValueError("give minutes or epochs, so that the training ends")
        if self.weights_sha256 is not None and len(self.models) > 1:
            raise ValueError("weights_sha256 is what one model starts from; give one model, or leave it out")
        if own := sorted(self.recipe.keys() & IN_REQUEST.keys()):
            raise ValueError(f"recipe names '{own[0]}', which is asked for by itself; give it as {IN_REQUEST[own[0]]}")
        self._check_anchors()
        return self

    def _check_anchors(self) -> None:
        for name, options in self.model_options.items():
            if name not in self.models:
                raise ValueError(f"model_options names '{name}', which is not among the models; add it to them or leave it out")
            detector = DETECTORS[name]
            rule_of(detector)  # refuses a family whose anchors nobody has described
            check_anchors(name, detector.family, variant_of(detector), options)

    @property
    def title(self) -> str:
        """Name the pipeline in words."""
        data = self.dataset_name or self.import_ref or "data set"
        return f"{len(self.models)} model{'s' if len(self.models) > 1 else ''} on {data}"


def device_of(lane: str) -> str:
    """Return the device that jobs of a lane run on."""
    return "cuda" if lane.startswith("cuda") else "cpu"


def pipeline_plan(request: PipelineRequest, *, threads: int = 1) -> list[PlannedJob]:
    """Return the jobs of a pipeline. `threads` is what the lane's workers have; latency is timed with half of them.

    The steps of an earlier model go before the training of a later one, so that the first point appears early.

    Raises:
        InvalidInput: a recipe is not one of its model, or the weights to start from are not here.
    """
    plan: list[PlannedJob] = []
    data_needs: dict[str, tuple[str, str]] = {}
    name = request.dataset_name or request.import_ref or ""
    dataset = InputFile(sha256=request.dataset_sha256, name=f"{name}.tar")
    if request.import_ref:
        source = InputFile(ref=request.import_ref, name=request.import_ref)
        spec = ImportSpec(source=source, name=request.import_ref)
        plan.append(
            PlannedJob(alias="data", spec=spec, title=request.import_ref, lane=request.lane, priority=len(request.models), needs={})
        )
        data_needs = {"dataset": ("data", "dataset")}
    for place, model in enumerate(request.models):
        plan += _model_steps(request, model, dataset, data_needs, threads=threads, priority=len(request.models) - 1 - place)
    return plan


def _model_steps(
    request: PipelineRequest, model: str, dataset: InputFile, data_needs: dict[str, tuple[str, str]], *, threads: int, priority: int
) -> list[PlannedJob]:
    title = f"{model} · {request.dataset_name or request.import_ref}"
    device = device_of(request.lane)
    common: dict[str, Any] = {"lane": request.lane, "priority": priority}
    weights = checkpoint_of_family(request.weights_sha256, model=model) if request.weights_sha256 else None
    train = TrainSpec(model=model, dataset=dataset, recipe=recipe_of(request, model), weights=weights, device=device, threads=threads)
    steps = [PlannedJob(alias=f"{model}:train", spec=train, title=title, needs=dict(data_needs), **common)]
    files = {"eager": (f"{model}:train", "checkpoint_best")}
    empty = InputFile(name=model)
    if "onnxruntime" in request.backends:
        needs = {"checkpoint": (f"{model}:train", "checkpoint_best")}
        steps.append(
            PlannedJob(alias=f"{model}:export", spec=ExportSpec(checkpoint=empty, threads=threads), title=title, needs=needs, **common)
        )
        files["onnxruntime"] = (f"{model}:export", "exported_model")
    for backend in request.backends:
        needs = {"artifact": files[backend], **data_needs}
        shared: dict[str, Any] = {"artifact": empty, "backend": backend, "dataset": dataset, "split": request.split, "device": device}
        evaluate = EvaluateSpec(**shared, threads=threads)
        benchmark = BenchmarkSpec(**shared, duration=request.duration, threads=max(1, threads // 2))
        steps.append(PlannedJob(alias=f"{model}:evaluate:{backend}", spec=evaluate, title=f"{title} · {backend}", needs=needs, **common))
        steps.append(PlannedJob(alias=f"{model}:benchmark:{backend}", spec=benchmark, title=f"{title} · {backend}", needs=needs, **common))
    return steps


def recipe_of(request: PipelineRequest, model: str) -> Recipe:
    """Return the model's default recipe with what the request says on top."""
    chosen: dict[str, Any] = {"seed": request.seed, "max_minutes": request.minutes}
    chosen |= {"epochs": request.epochs or (MANY_EPOCHS if request.minutes else None)}
    chosen |= {"input_size": request.input_size, "batch_size": request.batch_size}
    told = {**request.recipe, **{name: value for name, value in chosen.items() if value is not None}}
    if model in request.model_options:
        told["model_options"] = {**(told.get("model_options") or {}), **request.model_options[model].given()}
    try:
        return recipe_for(DETECTORS[model], Recipe.parse(told))
    except InvalidInput as error:
        raise InvalidInput(f"model '{model}': {error}") from None
