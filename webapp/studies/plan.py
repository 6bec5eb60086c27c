"""A study as jobs: for each seed and arm train, then evaluate on every tested data set, and time where the study asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.recipes import recipe_for
from detection_core.catalogue.studies import STUDIES, Arm, Study
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.files import InputFile, Sha256
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, ImportSpec, TrainSpec
from webapp.jobs.pipeline import MANY_EPOCHS, device_of
from webapp.jobs.services import PlannedJob

MOST_SEEDS = 10
TESTED_SPLIT = "test"
Needs = dict[str, tuple[str, str]]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class StudyChoices(Schema):
    """What a person asks of a study. The data set is a stored version (`dataset_sha256`, of its .tar) or a built-in (`import_ref`); a study
    that makes its own data takes neither. Without `epochs` and `minutes` each training has the study's epochs, without `seeds` it has the
    study's seeds."""

    dataset_sha256: Sha256 | None = None
    dataset_name: str = ""
    import_ref: str | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    minutes: Annotated[float, Field(gt=0, le=60 * 24)] | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)] | None = None
    input_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    duration: Literal["quick", "standard", "full"] = "quick"
    lane: Annotated[str, Field(min_length=1, max_length=50)] = "cpu"


class StudyRequest(StudyChoices):
    """A study with what is asked of it."""

    study: str

    @model_validator(mode="after")
    def _consistent(self) -> StudyRequest:
        if self.study not in STUDIES:
            raise ValueError(f"there is no study '{self.study}'; use one of {', '.join(STUDIES)}")
        given = [value for value in (self.dataset_sha256, self.import_ref) if value is not None]
        if STUDIES[self.study].data:
            if given:
                raise ValueError(f"the study '{self.study}' makes its own data; leave out dataset_sha256 and import_ref")
        elif len(given) != 1:
            raise ValueError("give either dataset_sha256 (a stored version) or import_ref (a built-in data set)")
        if self.import_ref is not None and self.import_ref not in DATASETS:
            raise ValueError(f"built-in data set '{self.import_ref}' is not known; use one of {', '.join(DATASETS)}")
        seeds = self.seeds or ()
        if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
            raise ValueError(f"seed {twice[0]} stands twice; give each seed once")
        return self

    @property
    def subject(self) -> Study:
        """Return the study."""
        return STUDIES[self.study]

    @property
    def trained_seeds(self) -> tuple[int, ...]:
        """Return the seeds that every arm is trained with."""
        return self.seeds or self.subject.seeds

    @property
    def title(self) -> str:
        """Name the suite in words."""
        count = len(self.trained_seeds)
        data = "" if self.subject.data else f" on {self.dataset_name or self.import_ref or 'a data set'}"
        return f"{self.subject.title}{data}, {count} seed{'' if count == 1 else 's'}"


def study_plan(request: StudyRequest, *, threads: int = 1) -> list[PlannedJob]:
    """Return the jobs of a study. `threads` is what the lane's workers have; latency is timed with half of them.

    All arms of a seed come before the next seed, so that a first answer appears early.

    Raises:
        InvalidInput: the recipe of an arm cannot be.
    """
    sources = _Sources.of(request)
    plan = list(sources.imports)
    for place, seed in enumerate(request.trained_seeds):
        for arm in request.subject.arms:
            plan += _arm_steps(request, arm, seed, sources, threads=threads, priority=len(request.trained_seeds) - 1 - place)
    return plan


class _Sources:
    """Where each data set of the study comes from: a stored file, or the job that imports it."""

    def __init__(self, files: dict[str, InputFile], imports: list[PlannedJob]) -> None:
        self.files, self.imports = files, imports
        self._made = {job.alias for job in imports}

    @classmethod
    def of(cls, request: StudyRequest) -> _Sources:
        """Return the sources of what a person asked for."""
        if request.dataset_sha256 is not None:
            return cls({"": InputFile(sha256=request.dataset_sha256, name=f"{request.dataset_name}.tar")}, [])
        wanted = [(data.name, data.dataset, f"{data.dataset}-{data.name}", data.options) for data in request.subject.data]
        wanted = wanted or [("", request.import_ref or "", request.import_ref or "", {})]
        imports = [_import(request, *one) for one in wanted]
        return cls({name: InputFile(name=f"{title}.tar") for name, _, title, _ in wanted}, imports)

    def needs(self, data: str) -> Needs:
        """Return what a job that reads a data set waits for."""
        return {"dataset": (_data_alias(data), "dataset")} if _data_alias(data) in self._made else {}


def _data_alias(data: str) -> str:
    return f"data:{data}" if data else "data"


def _import(request: StudyRequest, data: str, ref: str, name: str, options: dict[str, Any]) -> PlannedJob:
    spec = ImportSpec(source=InputFile(ref=ref, name=ref), name=name, options=options)
    return PlannedJob(alias=_data_alias(data), spec=spec, title=name, lane=request.lane, priority=len(request.trained_seeds))


def _arm_steps(request: StudyRequest, arm: Arm, seed: int, sources: _Sources, *, threads: int, priority: int) -> list[PlannedJob]:
    study, device = request.subject, device_of(request.lane)
    name = f"{arm.name}:{seed}"
    labels: dict[str, str | int] = {"arm": arm.name, "seed": seed}
    title = f"{arm.label}, seed {seed} · {_data_title(request)}"
    common: dict[str, Any] = {"lane": request.lane, "priority": priority, "title": title}
    train = TrainSpec(model=arm.model, dataset=sources.files[arm.data], recipe=_recipe(request, arm, seed), device=device, threads=threads)
    steps = [PlannedJob(alias=f"{name}:train", spec=train, needs=sources.needs(arm.data), labels=labels, **common)]
    for tested in study.tests:
        shared: dict[str, Any] = {"artifact": InputFile(name=arm.name), "backend": "eager", "dataset": sources.files[tested]}
        shared |= {"split": TESTED_SPLIT, "device": device}
        needs = {"artifact": (f"{name}:train", "checkpoint_best"), **sources.needs(tested)}
        told = labels | {"tested": tested} | ({"tested_title": f"at {study.data_label(tested)}"} if tested else {})
        specs: list[EvaluateSpec | BenchmarkSpec] = [EvaluateSpec(**shared, threads=threads)]
        if study.latency:
            specs.append(BenchmarkSpec(**shared, duration=request.duration, threads=max(1, threads // 2)))
        steps += [PlannedJob(alias=f"{name}:{spec.kind}:{tested}", spec=spec, needs=needs, labels=told, **common) for spec in specs]
    return steps


def _data_title(request: StudyRequest) -> str:
    return request.subject.data[0].dataset if request.subject.data else request.dataset_name or request.import_ref or ""


def _recipe(request: StudyRequest, arm: Arm, seed: int) -> Recipe:
    """Return an arm's recipe: the model's own, with what the study and then the person say on top."""
    epochs = request.epochs or (MANY_EPOCHS if request.minutes else request.subject.epochs)
    asked = {"epochs": epochs, "max_minutes": request.minutes, "input_size": request.input_size, "batch_size": request.batch_size}
    if not request.minutes:
        # Weights are looked at on val four times and at the end; the rest of the time goes into training.
        asked["eval_every"] = max(1, epochs // 4)
    chosen = {**arm.recipe, "seed": seed, **{name: value for name, value in asked.items() if value is not None}}
    try:
        return recipe_for(DETECTORS[arm.model], Recipe.parse(chosen))
    except InvalidInput as error:
        raise InvalidInput(f"arm '{arm.label}': {error}") from None
