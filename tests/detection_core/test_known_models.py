"""Detectors with published numbers, through the import and the evaluation that the site uses, on real photographs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detection_core.backends.pipeline import DetectionPipeline
from detection_core.build import load_checkpoint
from detection_core.data.preprocess import preprocess
from detection_core.operations import evaluate, import_dataset, import_model, train
from detection_core.operations.context import JobContext
from detection_core.operations.run import THREAD_VARIABLES
from detection_core.schemas.events import EventWriter
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Augmentation, Recipe
from detection_core.schemas.specs import EvaluateSpec, ImportModelSpec, ImportSpec, TrainSpec
from tests.data_at_hand import data_folder
from tests.detection_core.tiny import write_yolo

PTH = "fastestdet/weight_AP05_0.253207_280-epoch.pth"
# Lowest AP on the 20 images: what the files are known to give, less what another way of resizing may cost.
KNOWN = {
    "yolox-nano": ("yolox", "yolox-nano/yolox_nano.onnx", 0.34),
    "nanodet-m": ("nanodet", "nanodet-m/nanodet_m_320.onnx", 0.28),
    "fastestdet-onnx": ("fastestdet", "fastestdet/FastestDet.onnx", 0.22),
    "fastestdet-pth": ("fastestdet", PTH, 0.22),
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")


def context(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return JobContext(out=folder, events=EventWriter(folder / "events.jsonl"), inputs=None, cache=folder / "cache")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """The 20 photographs of coco-mini val as the import of the site stores them, and the names of the 80 classes."""
    folder = data_folder("coco-mini")
    at = tmp_path_factory.mktemp("coco")
    result = import_dataset.run(ImportSpec(source=InputFile(ref=str(folder)), name="coco-mini"), context(at))
    return SimpleNamespace(result=result, archive=at / result.files[0].path, classes=result.classes)


@pytest.fixture(scope="module")
def brought(coco, tmp_path_factory):
    """Each of the known models, imported: name -> folder of its job and what the import said."""
    weights, jobs = data_folder("weights"), {}
    for name, (layout, file, _) in KNOWN.items():
        folder = tmp_path_factory.mktemp(name)
        spec = ImportModelSpec(file=InputFile(ref=str(weights / file)), layout=layout, name=name, classes=coco.classes)
        jobs[name] = (folder, import_model.run(spec, context(folder)))
    return jobs


def test_the_report_names_the_photographs_that_are_not_there(coco):
    missing = [issue.file for issue in coco.result.report.issues if "no such file" in issue.problem]
    assert coco.result.splits["val"].images == 20 and coco.result.splits["train"].images == 13
    present = {line.split("\t")[2] for line in (data_folder("coco-mini") / "present.tsv").read_text().splitlines()}
    listed = {
        image["file_name"]
        for split in ("train", "val")
        for image in json.loads((data_folder("coco-mini") / "annotations" / f"instances_{split}2017.json").read_text())["images"]
    }
    assert len(listed - present) == 67
    assert {name.rpartition("/")[2] for name in missing} == listed - present


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_model_reaches_its_known_accuracy(coco, brought, name):
    folder, result = brought[name]
    backend = "eager" if result.manifest.format == "safetensors" else "onnxruntime"
    spec = EvaluateSpec(
        artifact=InputFile(ref=str(folder / result.path)), backend=backend, dataset=InputFile(ref=str(coco.archive)), split="val"
    )
    found = evaluate.run(spec, context(folder / "evaluation"))
    assert (found.images, found.protocol["score_thresh"]) == (20, 0.001)
    assert found.metrics.ap >= KNOWN[name][2]
    assert found.audit.max_abs_difference <= 1e-6


def test_fastestdet_answers_alike_as_onnx_and_as_weights(coco, brought):
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    pipelines = [
        DetectionPipeline(brought[name][0] / brought[name][1].path, backend=backend)
        for name, backend in (("fastestdet-onnx", "onnxruntime"), ("fastestdet-pth", "eager"))
    ]
    assert pipelines[0].input == pipelines[1].input
    batch = preprocess(image, pipelines[0].input)[0][None]
    (first,), (second,) = (pipeline._session.run(batch) for pipeline in pipelines)
    assert first.shape == second.shape == (1, 85, 22, 22)
    assert np.abs(first - second).max() <= 1e-3
    for pipeline in pipelines:
        pipeline.close()


def test_fine_tuning_from_the_published_weights_lowers_the_loss_and_makes_the_head_anew(brought, tmp_path):
    folder, result = brought["fastestdet-pth"]
    job = context(tmp_path / "training")
    recipe = Recipe(epochs=12, batch_size=3, input_size=96, lr=1e-3, augmentation=Augmentation(color=0, scale_min=1, scale_max=1))
    spec = TrainSpec(
        model="fastestdet",
        dataset=InputFile(ref=str(write_yolo(tmp_path, splits=("train", "val")))),
        recipe=recipe,
        weights=InputFile(ref=str(folder / result.path)),
    )
    trained = train.run(spec, job)
    losses = [entry["loss"] for entry in trained.history]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    (warning,) = [event["message"] for event in events if event["type"] == "warning" and "begin at random" in event["message"]]
    assert "head.classes" in warning
    _, model, manifest = load_checkpoint(job.out / trained.best.path)
    assert (manifest.model, manifest.classes) == ("fastestdet", ("crop", "weed"))
    _, before, _ = load_checkpoint(folder / result.path)
    # The trunk began at the published weights and has moved a little.
    now, then = (m.state_dict()["backbone.stages.0.0.branch_main.0.weight"] for m in (model, before))
    assert 0 < (now - then).abs().max() < 0.2 * then.abs().max()


def test_no_class_of_the_published_weights_is_lost(brought, coco):
    for _, result in brought.values():
        assert result.manifest.classes == coco.classes
        assert len(coco.classes) == 80 and (coco.classes[0], coco.classes[79]) == ("person", "toothbrush")
        assert torch.tensor(result.manifest.params_m) < 1.1
