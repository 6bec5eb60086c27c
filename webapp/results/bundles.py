"""Bundles of jobs that were done with no server become jobs and results here, marked with the machine they came from.

What a bundle names has to be known by content: the measured file as a model of this site, the data as one of its versions. Numbers are
taken as they are told; that is why every place that shows them says where they come from.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import IntegrityError, transaction

from detection_core.catalogue.detectors import DETECTORS
from detection_core.operations.bundle import Bundle, read_bundle
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import BenchmarkResult, EvaluateResult, ScoreResult, TrainResult
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, JobSpec, ScoreSpec, TrainSpec
from webapp.accounts.models import User
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_open, artifact_put
from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job
from webapp.jobs.services import job_bring, job_brought
from webapp.jobs.services.create import spec_checked
from webapp.results.models import ExportedModel
from webapp.results.services import job_record

LONGEST_LICENCE = 50
AGAIN = "then send this bundle again"


def bundle_import(*, artifact: Artifact, user: User) -> Job:
    """Take a bundle over that was uploaded before. Raises InvalidInput as `bundle_take`; the upload stays."""
    with artifact_open(artifact) as source:
        return bundle_take(source=source, name=artifact.name, user=user)


def bundle_take(*, source: IO[bytes], name: str, user: User) -> Job:
    """Take a bundle over: its job as succeeded, it and its files as artifacts, its numbers as rows.

    The same bundle gives the same job, however often it comes. Everything is checked before anything is stored.

    Raises:
        InvalidInput: the bundle is not as it must be, or what it names is not on this site; nothing stays of it.
    """
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="bundle-") as temporary:
        whole, entries = Path(temporary) / "bundle.tar", Path(temporary) / "entries"
        entries.mkdir()
        with whole.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        bundle = read_bundle(whole, entries, max_bytes=settings.UPLOAD_MAX_BYTES)
        key = f"bundle:{bundle.index.key}"
        if earlier := job_brought(key=key):
            return earlier
        spec, title = _at_home(bundle)
        spec = spec_checked(spec, {})
        _columns_fit(bundle)
        outputs = {role: _stored(role, bundle, user) for role in bundle.outputs}
        outputs["bundle"] = artifact_put(path=whole, kind="upload", name=name[:200], user=user)
    try:
        with transaction.atomic():
            told: dict[str, Any] = {"spec": spec, "result": bundle.result, "events": bundle.events, "origin": bundle.machine}
            job = job_bring(**told, outputs=outputs, key=key, user=user, title=title)
            job_record(job=job, result=bundle.result, outputs=outputs)
            return job
    except IntegrityError:
        if earlier := job_brought(key=key):
            return earlier
        raise


def _stored(role: str, bundle: Bundle, user: User) -> Artifact:
    file = bundle.outputs[role]
    return artifact_put(path=file.path, kind=role, name=file.name, user=user, sha256=file.sha256)


def _at_home(bundle: Bundle) -> tuple[JobSpec, str]:
    """Return the bundle's spec with inputs of this site in it, and the job's title."""
    spec, result = bundle.spec, bundle.result
    if isinstance(spec, EvaluateSpec | BenchmarkSpec) and isinstance(result, EvaluateResult | BenchmarkResult):
        return _measurement(spec, result)
    if isinstance(spec, TrainSpec) and isinstance(result, TrainResult):
        return _training(spec, result)
    assert isinstance(spec, ScoreSpec) and isinstance(result, ScoreResult)  # read_bundle takes no other kind
    return _score(spec, result)


def _measurement(spec: EvaluateSpec | BenchmarkSpec, result: EvaluateResult | BenchmarkResult) -> tuple[JobSpec, str]:
    known = ExportedModel.objects.filter(artifact_id=result.artifact_sha256).select_related("artifact").first()
    if known is None:
        what = f"the model file {result.manifest.model} (sha256 {result.artifact_sha256[:12]}…)"
        remedy = "a checkpoint comes with the bundle of its training, any other file has to be one that was exported or imported here"
        raise InvalidInput(f"{what} is not on this site; {remedy}: measure that one, {AGAIN}")
    manifest = Manifest.parse(known.manifest)
    for name in Manifest.model_fields:
        if getattr(manifest, name) != getattr(result.manifest, name):
            raise InvalidInput(f"the bundle tells another '{name}' of the model file than the file itself does; run the job again")
    version = _version(spec.dataset, result.dataset_sha256, split=spec.split)
    if isinstance(result, EvaluateResult):
        _whole_split(version, spec.split, result.images)
    artifact = InputFile(sha256=known.artifact_id, name=known.artifact.name)
    title = f"{known.model} · {version} · {spec.backend}"
    return spec.model_copy(update={"artifact": artifact, "dataset": _file(version)}), title


def _training(spec: TrainSpec, result: TrainResult) -> tuple[JobSpec, str]:
    entry = DETECTORS.get(spec.model)
    if entry is None or (result.manifest.model, result.manifest.family) != (spec.model, entry.family):
        raise InvalidInput(f"the bundle is of a training of '{spec.model}', which this site's catalogue does not have; update the site")
    version = _version(spec.dataset, result.dataset_sha256 or "", split="train")
    if tuple(version.classes) != result.manifest.classes:
        raise InvalidInput(f"the bundle tells other classes than {version} has; run the job again")
    return spec.model_copy(update={"dataset": _file(version)}), f"{spec.model} · {version}"


def _score(spec: ScoreSpec, result: ScoreResult) -> tuple[JobSpec, str]:
    predictions = _upload(spec.predictions, "the results file")
    if spec.ground_truth is not None:
        truth: dict[str, Any] = {"ground_truth": _upload(spec.ground_truth, "the ground truth")}
        of = spec.ground_truth.name
    else:
        assert spec.dataset is not None  # the schema has one of the two
        version = _version(spec.dataset, result.dataset_sha256 or "", split=spec.split)
        _whole_split(version, spec.split, result.images)
        truth, of = {"dataset": _file(version)}, str(version)
    return spec.model_copy(update={"predictions": predictions, **truth}), f"{spec.name or spec.predictions.name} · {of}"


def _upload(file: InputFile, what: str) -> InputFile:
    if file.sha256 is None or not Artifact.objects.filter(sha256=file.sha256).exists():
        raise InvalidInput(f"{what} '{file.name}' is not on this site; upload it first (POST /api/v1/uploads), {AGAIN}")
    return file


def _version(file: InputFile, content_hash: str, *, split: str) -> DatasetVersion:
    """Return the frozen version with this content, rather the one whose file the job read."""
    known = DatasetVersion.objects.filter(content_hash=content_hash, frozen=True).select_related("dataset").order_by("-id")
    version = known.filter(artifact_id=file.sha256).first() or known.first()
    if version is None:
        name = file.name.removesuffix(".tar") or "the data set"
        raise InvalidInput(
            f"the data set version behind this bundle ({name}, content {content_hash[:12]}…) is not here; import it first, {AGAIN}"
        )
    if not version.splits.get(split, {}).get("images"):
        raise InvalidInput(f"{version} has no {split} images, so this result cannot be of it; run the job again")
    return version


def _whole_split(version: DatasetVersion, split: str, images: int) -> None:
    there = version.splits[split]["images"]
    if images != there:
        raise InvalidInput(f"the result is of {images:,} images, and {version} has {there:,} in {split}; run the job on the whole split")


def _file(version: DatasetVersion) -> InputFile:
    return InputFile(sha256=version.artifact_id, name=f"{version}.tar")


def _columns_fit(bundle: Bundle) -> None:
    """Refuse what no column holds; our own jobs never tell such a thing."""
    manifest = getattr(bundle.result, "manifest", None)
    if manifest is not None and len(manifest.licence) > LONGEST_LICENCE:
        raise InvalidInput(f"the bundle's manifest has a licence of more than {LONGEST_LICENCE} letters; name it shortly")
