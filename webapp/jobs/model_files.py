"""Files of models that earlier jobs made: what an export, an evaluation or a latency measurement can start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from detection_core.catalogue.detectors import DETECTORS
from webapp.jobs.models import JobOutput
from webapp.jobs.states import State

CHECKPOINT_ROLES = ("checkpoint_best", "checkpoint_last")
EXPORT_ROLES = ("exported_model",)
MOST_LISTED = 200


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint or an exported model by hash, with what a person tells it by; `imported` where it was made elsewhere."""

    sha256: str
    name: str
    role: str
    model: str
    job_title: str
    made_at: datetime | None
    classes: tuple[str, ...] = ()
    imported: bool = False

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
        )
    )
    files: dict[str, ModelFile] = {}
    for row in rows[:MOST_LISTED]:
        files.setdefault(row["artifact_id"], _model_file(row))
    return list(files.values())


def _model_file(row: Mapping[str, Any]) -> ModelFile:
    return ModelFile(
        sha256=row["artifact_id"],
        name=row["name"],
        role=row["role"],
        model=row["job__result__manifest__model"] or "",
        job_title=row["job__title"],
        made_at=row["job__finished_at"],
        classes=tuple(row["job__result__manifest__classes"] or ()),
        imported=row["job__kind"] == "import_model",
    )
