"""Reads of the gallery: an evaluation with its images, which of them are listed and in which order, and what two evaluations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Q

from webapp.datasets.models import DatasetVersion
from webapp.gallery.counts import AtScore, usable_score
from webapp.gallery.examples import KINDS, SIZES, TP, Examples, examples_of
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.results.accuracy import ERROR_KINDS
from webapp.results.selectors import evaluated_job, evaluated_version, output_of
from webapp.templatetags.show import backend_title, model_title

SHOWS = {"tp": "true positives", "fp": "false positives", "miss": "misses"}
ERRORS = {kind.lower(): title for kind, (title, _) in ERROR_KINDS.items()}
ORDERS = {"": "most errors first", "weakest": "weakest find first", "file": "by file"}
NO_GROUP = "none"
MOST_OTHERS = 30
NO_IMAGES = "no images were kept with this evaluation; evaluate again"


@dataclass(frozen=True)
class Looked:
    """A finished evaluation or scoring with what it kept of its images; `version` is the data set whose pictures they are."""

    job: Job
    examples: Examples
    version: DatasetVersion | None

    @property
    def title(self) -> str:
        """Name what was evaluated."""
        return evaluation_title(self.job)

    @cached_property
    def split(self) -> str:
        """The evaluated split, "" where the truth was a file."""
        return (self.job.result or {}).get("split") or ""

    @property
    def chosen_on(self) -> str:
        """The split that the operating point was chosen on, "" where that is not known."""
        card = (self.job.result or {}).get("accuracy") or {}
        return (card.get("operating_point") or {}).get("chosen_on", "")


@dataclass(frozen=True)
class Wanted:
    """Which images are listed and in which order, as it stands in the address. Empty text means any.

    Boxes are drawn and counted at `score`. The list was made at `listed_at`: whoever moves the slider and turns the page goes on in the
    list that they were in.
    """

    score: float
    listed_at: float
    shows: str = ""
    name: str = ""
    size: str = ""
    error: str = ""
    group: str = ""
    sort: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether some filter leaves anything out."""
        return any((self.shows, self.name, self.size, self.error, self.group))


@dataclass(frozen=True)
class Difference:
    """An image on which two evaluations differ: its place and the errors of each at its own operating point."""

    place: int
    first_errors: int
    second_errors: int


@dataclass(frozen=True)
class Differences:
    """All images that two evaluations share. `rows` are those with different numbers of errors, the largest difference first."""

    rows: list[Difference]
    equal: int

    @property
    def first_better(self) -> list[Difference]:
        """Those where the first makes fewer errors."""
        return [row for row in self.rows if row.first_errors < row.second_errors]

    @property
    def second_better(self) -> list[Difference]:
        """Those where the second makes fewer errors."""
        return [row for row in self.rows if row.second_errors < row.first_errors]


def looked_at(uuid: UUID) -> Looked | Job | None:
    """Return an evaluation with its images, the job alone where none were kept, None where there is no such evaluation.

    Raises:
        webapp.gallery.examples.Unreadable: the stored file is gone or broken.
    """
    job = evaluated_job(uuid)
    if job is None:
        return None
    artifact = output_of(job, "examples")
    return job if artifact is None else Looked(job, examples_of(artifact), evaluated_version(job))


def evaluation_title(job: Job) -> str:
    """Name what an evaluate or score job evaluated."""
    result, spec = job.result or {}, job.spec
    manifest = result.get("manifest") or {}
    if job.kind == "score" or "model" not in manifest:
        return spec.get("name") or job.title or ("a results file" if job.kind == "score" else "an evaluation")
    return f"{model_title(manifest['model'])}, {backend_title(result.get('backend', ''))}, {manifest.get('dtype', '')}"


def wanted_images(examples: Examples, query: Mapping[str, str]) -> Wanted:
    """Read the filters from a request's query; what cannot be used is left at its default."""
    groups = group_choices(examples)
    score = query.get("score", "")
    return Wanted(
        score=usable_score(examples, score),
        listed_at=usable_score(examples, query.get("listed", score)),
        shows=_among(query.get("shows"), SHOWS),
        name=_among(query.get("class"), examples.classes),
        size=_among(query.get("size"), SIZES),
        error=_among(query.get("error"), ERRORS),
        group=_among(query.get("group"), groups),
        sort=_among(query.get("sort"), ORDERS),
    )


def group_choices(examples: Examples) -> list[str]:
    """Return the groups (places, flights, clips) of the images, where they carry one."""
    return sorted({group for group in examples.groups if group})


def _among(value: str | None, choices: Any) -> str:
    return value if value and value in choices else ""


def listed(at: AtScore, wanted: Wanted) -> list[int]:
    """Return the places of the images that have what is wanted, in the order that is wanted.

    `shows` asks for a true positive, false positive or miss, `error` for an error of a kind, in both cases of the class and size where
    these are given; class and size alone ask for any object or detection of theirs. A find has the class and size of its object.
    """
    examples = at.examples
    detections, truth = _alike(at, wanted)
    kept = np.ones(len(examples), bool)
    if wanted.shows or ((wanted.name or wanted.size) and not wanted.error):
        kept &= _having(at, wanted.shows, detections, truth)
    if wanted.error == "miss":
        kept &= at.per_image(truth=truth & at.unexplained) > 0
    elif wanted.error:
        kept &= at.per_image(detections=detections & at.kept & (examples.kinds == KINDS.index(wanted.error))) > 0
    if wanted.group:
        kept &= np.array([group == wanted.group for group in examples.groups], bool)
    places = np.flatnonzero(kept)
    return places[_order(at, places, wanted.sort)].tolist()


def _alike(at: AtScore, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the detections and objects that have the class and size that are wanted."""
    examples = at.examples
    detections, truth = np.ones(len(examples.scores), bool), np.ones(len(examples.truth_scores), bool)
    if wanted.name:
        label = examples.classes.index(wanted.name)
        detections &= examples.labels == label
        truth &= examples.truth_labels == label
    if wanted.size:
        size = SIZES.index(wanted.size)
        found = (examples.kinds == TP) & (examples.partner >= 0)
        sizes = examples.sizes.copy()
        sizes[found] = examples.truth_sizes[examples.partner[found]]
        detections &= sizes == size
        truth &= examples.truth_sizes == size
    return detections, truth


def _having(at: AtScore, shows: str, detections: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Say of each image whether it shows what is asked for among the detections and objects of two masks, bool [images]."""
    if shows == "tp":
        return at.per_image(detections=detections & at.right) > 0
    if shows == "fp":
        return at.per_image(detections=detections & at.false) > 0
    if shows == "miss":
        return at.per_image(truth=truth & at.missed) > 0
    return at.per_image(detections=detections & at.kept) + at.per_image(truth=truth) > 0


def _order(at: AtScore, places: np.ndarray, sort: str) -> np.ndarray:
    if sort == "file":
        return np.array(sorted(range(len(places)), key=lambda row: at.examples.files[places[row]]), np.int64)
    key = at.lowest_find[places] if sort == "weakest" else -at.errors[places]
    return np.argsort(key, kind="stable")


def other_evaluations(looked: Looked) -> list[tuple[UUID, str]]:
    """Return the newest other evaluations of the same images, those that kept them, each with its name."""
    job = looked.job
    result, file = job.result or {}, (job.spec.get("ground_truth") or {}).get("sha256")
    if result.get("dataset_sha256"):
        content, split = result["dataset_sha256"], result.get("split")
        same = Q(evaluation__dataset_version__content_hash=content, evaluation__split=split)
        same |= Q(kind="score", result__dataset_sha256=content, result__split=split)
    elif file:
        same = Q(kind="score", spec__ground_truth__sha256=file)
    else:
        return []
    rows = Job.objects.filter(same, outputs__role="examples", state=State.SUCCEEDED).exclude(pk=job.pk).order_by("-id")
    return [(row.uuid, evaluation_title(row)) for row in rows[:MOST_OTHERS]]


def why_not_comparable(first: Looked, second: Looked) -> str:
    """Say why the images of two evaluations cannot be set side by side, "" where they can."""
    if first.job.pk == second.job.pk:
        return "This is one evaluation twice; choose another one."
    one, other = _images_of(first.job), _images_of(second.job)
    if one != other and one[:2] == other[:2]:
        return f"One was evaluated on the {one[2]} split, the other on {other[2]}; evaluate both on one split."
    if one != other:
        return "They were evaluated on different data sets, or on different contents of one; evaluate both on the same version."
    if first.examples.ids != second.examples.ids or first.examples.classes != second.examples.classes:
        return "Their files do not hold the same images and classes; evaluate both again."
    return ""


def _images_of(job: Job) -> tuple[str, str, str]:
    """What an evaluation was made on: data set content and split, or a ground truth file."""
    result = job.result or {}
    if result.get("dataset_sha256"):
        return "data set", result["dataset_sha256"], result.get("split") or ""
    return "file", (job.spec.get("ground_truth") or {}).get("sha256") or str(job.uuid), ""


def differences(first: AtScore, second: AtScore) -> Differences:
    """Return the images on which two evaluations of the same images make different numbers of errors, each at its own threshold.

    The largest difference stands first; of equal ones that with more errors in all, then the earlier image.
    """
    errors = np.column_stack([first.errors, second.errors])
    gap = np.abs(errors[:, 0] - errors[:, 1])
    order = np.lexsort((np.arange(len(gap)), -errors.sum(axis=1), -gap))
    order = order[gap[order] > 0]
    rows = [Difference(place, *errors[place].tolist()) for place in order.tolist()]
    return Differences(rows=rows, equal=int(np.count_nonzero(gap == 0)))
