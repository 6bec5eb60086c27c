"""Files that go into a job and come out of one, named by the hash of their content."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from detection_core.schemas.base import Schema

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

FileRole = Literal[
    "dataset",  # canonical data set, a .tar
    "checkpoint_best",  # deploy weights chosen on val, .safetensors
    "checkpoint_last",  # deploy weights of the last epoch, .safetensors
    "training_state",  # what a training needs to resume, .tar
    "exported_model",  # e.g. .onnx
    "detections",  # COCO results JSON, gzipped
    "curves",  # precision-recall curves and bootstrap draws of an evaluation, .json.gz
    "examples",  # per image ground truth and detections with what became of each, .json.gz
    "samples",  # raw stage times of every timed image, .json.gz
    "log",
]


# A `ref` for the weights of a training: those that torchvision publishes for the detector.
PUBLISHED = "published"


class InputFile(Schema):
    """A file that a job reads.

    `sha256` names its bytes. While the job that makes it has not finished, it is None and `from_job` and
    `role` say where it will come from. `ref` is another way to get a data set where there is no server: a built-in name
    such as `fields`, or a path; for the weights of a training also `published`.
    """

    sha256: Sha256 | None = None
    name: str = ""
    ref: str | None = None
    url: str | None = None
    from_job: str | None = None
    role: FileRole | None = None


class OutputFile(Schema):
    """A file that a job wrote, `path` relative to the job's output folder."""

    role: FileRole
    path: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
