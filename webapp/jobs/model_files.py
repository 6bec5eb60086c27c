"""Files of models that earlier jobs made: what an export, an evaluation or a latency measurement can start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from detection_core.catalogue.detectors import DETECTORS
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import PUBLISHED, InputFile
from webapp.jobs.models import JobOutput
from webapp.jobs.states import State

CHECKPOINT_ROLES = ("checkpoint_best", "checkpoint_last")
EXPORT_ROLES = ("exported_model",)
IMPORT = "import_model"
MOST_LISTED = 200


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint or an exported model by hash, with what a person tells it by.

    `imported` where it was made elsewhere, or exported here from a checkpoint that was: its classes are then not those of a data set.
    """

    sha256: str
    name: str
    role: str
    model: str
    job_title: str
    made_at: datetime | None
    classes: tuple[str, ...] = ()
    imported: bool = False
    family: str = ""

    @property
    def backend(self) -> str:
        """Return the backend that runs this file."""
        return "onnxruntime" if self.role in EXPORT_ROLES else "eager"

    @property
    def label(self) -> str:
        """Name the file in a list of choices."""
        title = DETECTORS[self.model].title if self.model in DETECTORS else self.model
        what = {"checkpoint_best": "best checkpoint", "checkpoint_last": "last checkpoint"}.get(self.role, "ONNX file")
        what = ("weights" if self.backend == "eager" else what) + " from elsewhere" if self.imported else what
        data = self.job_title.partition(" · ")[2]
        when = f"{self.made_at:%Y-%m-%d %H:%M} UTC" if self.made_at else ""
        return " · ".join(part for part in (title, what, data, when) if part)


def model_files(*, roles: tuple[str, ...]) -> list[ModelFile]:
    """Return the newest files of these roles, one a hash."""
    rows = (
        JobOutput.objects.filter(role__in=roles, job__state=State.SUCCEEDED)
        .order_by("-id")
        .values(
            "artifact_id",
            "name",
            "role",
            "job__kind",
            "job__title",
            "job__finished_at",
            "job__result__manifest__model",
            "job__result__manifest__classes",
            "job__result__manifest__family",
            "job__result__manifest__parent_sha256",
        )
    )
    brought = set(JobOutput.objects.filter(role__in=CHECKPOINT_ROLES, job__kind=IMPORT).values_list("artifact_id", flat=True))
    files: dict[str, ModelFile] = {}
    for row in rows[:MOST_LISTED]:
        files.setdefault(row["artifact_id"], _model_file(row, brought))
    return list(files.values())


def checkpoint_of_family(sha256: str, *, model: str) -> InputFile:
    """Return a checkpoint of this site as the input of a training of `model`.

    Raises:
        InvalidInput: no checkpoint here has this hash, or it is of another family, so that its weights fit nothing.
    """
    row = JobOutput.objects.filter(artifact_id=sha256, role__in=CHECKPOINT_ROLES, job__state=State.SUCCEEDED).order_by("-id").first()
    if row is None:
        raise InvalidInput(f"no checkpoint on this site has the sha256 {sha256}; train one, or import its weights first")
    manifest = (row.job.result or {}).get("manifest") or {}
    own = DETECTORS[model].family
    if manifest.get("family") != own:
        what = f"{manifest.get('model')}, family {manifest.get('family')}"
        raise InvalidInput(f"the checkpoint is of {what}, and {model} is of {own}; choose a checkpoint of the same family, or none")
    return InputFile(sha256=sha256, name=row.name)


def published_weights(model: str) -> InputFile:
    """Return what torchvision publishes for `model` as the input of its training; InvalidInput where that is nothing."""
    if DETECTORS[model].published_weights is None:
        having = ", ".join(entry.name for entry in DETECTORS.values() if entry.published_weights)
        raise InvalidInput(f"field 'weights': nobody publishes weights for {model}; start at random, or train one of {having}")
    return InputFile(ref=PUBLISHED, name="published weights")


def _model_file(row: Mapping[str, Any], brought: set[str]) -> ModelFile:
    return ModelFile(
        sha256=row["artifact_id"],
        name=row["name"],
        role=row["role"],
        model=row["job__result__manifest__model"] or "",
        job_title=row["job__title"],
        made_at=row["job__finished_at"],
        classes=tuple(row["job__result__manifest__classes"] or ()),
        imported=row["job__kind"] == IMPORT or row["job__result__manifest__parent_sha256"] in brought,
        family=row["job__result__manifest__family"] or "",
    )
