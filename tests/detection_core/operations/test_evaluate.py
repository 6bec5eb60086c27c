"""Evaluate as a job: its result, its file, and what it says no to."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace

import pytest

from detection_core.build import load_checkpoint
from detection_core.data.canonical import write_canonical
from detection_core.evaluation.coco_files import read_detections
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.evaluation.operating_point import choose_threshold
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.operations import accuracy
from detection_core.operations import evaluate as module
from detection_core.operations.context import Stopped, file_sha256
from detection_core.operations.evaluate import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import Audit, EvaluateResult
from detection_core.schemas.specs import EvaluateSpec
from tests.detection_core.tiny import save_small_checkpoint, write_yolo


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small_checkpoint(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def spec(checkpoint, tmp_path):
    return EvaluateSpec(artifact=InputFile(ref=str(checkpoint)), backend="eager", dataset=InputFile(ref=str(write_yolo(tmp_path))))


def exported(checkpoint, path):
    adapter, model, manifest = load_checkpoint(checkpoint)
    export_onnx(adapter, model, onnx_manifest(manifest, parent_sha256=file_sha256(checkpoint)), path)
    return path


def warnings(job):
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    return [event["message"] for event in events if event["type"] == "warning"]


def test_the_result_carries_all_that_its_number_depends_on(spec, job, checkpoint):
    result = run(spec, job)
    assert EvaluateResult.parse(result.to_json()) == result
    assert (result.images, result.split, result.backend) == (3, "test", "eager")
    assert result.artifact_sha256 == file_sha256(checkpoint)
    assert result.dataset_sha256 == job.dataset(spec.dataset).content_hash
    assert [entry.name for entry in result.per_class] == ["crop", "weed"]
    assert result.protocol == {
        "iou_thresholds": "0.50:0.05:0.95",
        "score_thresh": 0.001,
        "nms_thresh": result.manifest.postprocessing.nms_thresh,
        "max_det": 100,
        "pre_nms_topk": 1000,
        "resize": "letterbox",
        "input": [128, 128],
        "batch": 1,
        "nms_in_graph": False,
    }
    assert result.engine == "hotcoco 1.3.0" and result.environment.cpu
    assert result.audit == Audit(engine="pycocotools 2.0.11", images=3, max_abs_difference=0.0)


def test_the_detections_file_gives_the_metrics_of_the_result(spec, job):
    result = run(spec, job)
    file = result.files[0]
    dataset = job.dataset(spec.dataset)
    ground_truth = dataset.coco(dataset.split("test"))
    rows, foreign = read_detections(job.out / file.path, ground_truth)
    assert file.role == "detections" and foreign == 0 and len(rows) == result.detections > 0
    assert coco_metrics(ground_truth, rows) == (result.metrics, result.per_class)


@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
def test_files_named_only_by_their_hash_give_the_same_numbers(spec, job, checkpoint, tmp_path, backend):
    model = checkpoint if backend == "eager" else exported(checkpoint, tmp_path / "model.onnx")
    spec = spec.model_copy(update={"artifact": InputFile(ref=str(model)), "backend": backend})
    write_canonical(job.dataset(spec.dataset), tmp_path / "dataset.tar")
    job.inputs.mkdir()
    hashes = {}
    for name, path in (("artifact", model), ("dataset", tmp_path / "dataset.tar")):
        hashes[name] = InputFile(sha256=file_sha256(path), name=path.name)
        shutil.copy(path, job.inputs / file_sha256(path))
    by_path, by_hash = run(spec, job), run(spec.model_copy(update=hashes), job)
    assert by_path.metrics == by_hash.metrics and by_path.dataset_sha256 == by_hash.dataset_sha256
    assert by_path.files[0].sha256 == by_hash.files[0].sha256


def test_the_same_job_gives_the_same_bytes(spec, job):
    first, second = run(spec, job), run(spec, job)
    assert [file.role for file in first.files] == ["detections", "curves", "examples"]
    assert first.files == second.files and first.metrics == second.metrics and first.accuracy == second.accuracy


def test_the_threshold_is_chosen_on_val_and_held_on_the_evaluated_split(spec, job, tmp_path):
    data = InputFile(ref=str(write_yolo(tmp_path / "splits", splits=("val", "test"))))
    on_val = run(spec.model_copy(update={"dataset": data}), job)
    point = on_val.accuracy.operating_point
    dataset = job.dataset(data)
    with_val = run(spec.model_copy(update={"dataset": data, "split": "val"}), job)
    rows, _ = read_detections(job.out / with_val.files[0].path, dataset.coco(dataset.split("val")))
    assert point.chosen_on == "val" and point.score_thresh == choose_threshold(dataset.coco(dataset.split("val")), rows)
    assert with_val.accuracy.operating_point.score_thresh == point.score_thresh
    assert on_val.images == 3 and on_val.accuracy.bootstrap.units == 3
    assert on_val.metrics == run(spec.model_copy(update={"dataset": data, "operating_split": None}), job).metrics


def test_without_another_split_the_threshold_is_chosen_on_the_evaluated_one(spec, job):
    assert run(spec, job).accuracy.operating_point.chosen_on == "test"


def test_the_card_and_its_files_belong_together(spec, job):
    result = run(spec, job)
    curves, examples = (json.loads(gzip.decompress((job.out / file.path).read_bytes())) for file in result.files[1:])
    card = result.accuracy
    assert curves["bootstrap_key"] == card.bootstrap.key and len(curves["draws"]["ap"]) == card.bootstrap.draws == 1000
    assert examples["score_thresh"] == pytest.approx(card.operating_point.score_thresh)
    assert len(examples["images"]) == 3
    assert card.bootstrap.intervals["ap"].low <= card.bootstrap.intervals["ap"].high and card.bootstrap.unit == "image"
    assert card.confusion.classes == ("crop", "weed") and card.errors.ap50 == pytest.approx(result.metrics.ap50)


def test_an_absent_split_is_refused_with_the_ones_there_are(spec, job):
    with pytest.raises(InvalidInput, match=r"has no val split; it has test"):
        run(spec.model_copy(update={"split": "val"}), job)


def test_the_null_backend_has_no_accuracy(spec, job):
    with pytest.raises(InvalidInput, match="backend 'null' detects nothing"):
        run(spec.model_copy(update={"backend": "null"}), job)


def test_a_stop_is_heard_within_an_image(spec, job):
    answers = iter([False, True])
    with pytest.raises(Stopped):
        run(spec, replace(job, stop=lambda: next(answers)))
    assert not (job.out / "detections.json.gz").exists()


def test_progress_rises_to_the_end_and_tells_the_time_left(spec, job, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_EVERY_S", 0.0)
    run(spec, job)
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    assert [event["message"] for event in events if "eta_s" in event] == ["image 1 of 3", "image 2 of 3", "image 3 of 3"]
    fractions = [event["fraction"] for event in events]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9


def test_a_threshold_above_the_protocols_is_said_aloud(spec, job):
    run(spec.model_copy(update={"score_thresh": 0.25}), job)
    assert any("score_thresh is 0.25" in message for message in warnings(job))


def test_classes_that_only_one_side_knows_are_said_aloud(spec, job, tmp_path):
    model = save_small_checkpoint(tmp_path / "other.safetensors", classes=("weed", "stone"))
    result = run(spec.model_copy(update={"artifact": InputFile(ref=str(model))}), job)
    assert any("does not know crop" in message for message in warnings(job))
    assert any("does not have stone" in message for message in warnings(job))
    assert result.per_class[0].ap == 0


def test_a_difference_between_the_evaluators_is_said_aloud(spec, job, monkeypatch):
    monkeypatch.setattr(accuracy, "audit", lambda *case: Audit(engine="pycocotools 2.0.11", images=3, max_abs_difference=0.01))
    assert run(spec, job).audit.max_abs_difference == 0.01
    assert any("pycocotools 2.0.11 differs from hotcoco 1.3.0 by 0.01" in message for message in warnings(job))
