"""The export as a job."""

from __future__ import annotations

import hashlib
import json

import pytest

from detection_core.build import read_manifest
from detection_core.operations import export
from detection_core.operations.context import JobContext, Stopped
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import EventWriter
from detection_core.schemas.results import ExportResult
from detection_core.schemas.specs import ExportSpec
from tests.detection_core.export.test_onnx_export import write_perturbed_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    write_perturbed_checkpoint("fcos_resnet10_fpn", path)
    return path


@pytest.fixture
def job(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return JobContext(out=out, events=EventWriter(out / "events.jsonl"), inputs=None, cache=tmp_path / "cache")


def test_the_result_names_the_file_its_hash_and_how_far_it_is_from_the_checkpoint(checkpoint, job):
    result = export.run(ExportSpec.parse({"checkpoint": {"ref": str(checkpoint)}}), job)
    written = (job.out / result.path).read_bytes()
    assert result.path == "model.onnx"
    assert result.sha256 == result.files[0].sha256 == hashlib.sha256(written).hexdigest()
    assert result.files[0].role == "exported_model"
    assert 0 < result.max_abs_difference < 1e-3
    assert result.manifest == read_manifest(job.out / "model.onnx")
    assert result.manifest.parent_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert ExportResult.parse(result.to_json()) == result
    assert sorted(path.name for path in job.out.iterdir()) == ["events.jsonl", "model.onnx"]


def test_a_large_difference_is_told_as_a_warning(checkpoint, job, monkeypatch):
    monkeypatch.setattr(export, "max_abs_difference", lambda *arguments, **named: 0.7)
    export.run(ExportSpec.parse({"checkpoint": {"ref": str(checkpoint)}}), job)
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    assert any(event["type"] == "warning" and "0.7" in event["message"] for event in events)


def test_a_file_that_is_no_checkpoint_is_refused_and_nothing_is_written(job, tmp_path):
    foreign = tmp_path / "photo.safetensors"
    foreign.write_bytes(b"not a checkpoint at all")
    with pytest.raises(InvalidInput, match=r"photo\.safetensors"):
        export.run(ExportSpec.parse({"checkpoint": {"ref": str(foreign)}}), job)
    assert not list(job.out.glob("model*"))


def test_a_stopped_export_leaves_no_half_file(checkpoint, job):
    stopped = JobContext(out=job.out, events=job.events, inputs=None, cache=job.cache, stop=lambda: True)
    with pytest.raises(Stopped):
        export.run(ExportSpec.parse({"checkpoint": {"ref": str(checkpoint)}}), stopped)
    assert not list(job.out.glob("model*"))
