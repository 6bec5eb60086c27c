"""The one path from image to boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from detection_core.backends.pipeline import DetectionPipeline, ModelPipeline
from detection_core.nn.postprocess import Detections
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Postprocessing
from tests.detection_core.tiny import ColourAdapter, ColourSession, draw_dataset, save_small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small_checkpoint(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    dataset = draw_dataset(tmp_path_factory.mktemp("data"))
    return dataset.read_image(dataset.records[0])


def test_stages_are_told_without_a_gap(image):
    readings = itertools.count(1000, 7)
    pipeline = ModelPipeline(ColourAdapter(), ColourSession(), Postprocessing())
    _, stages = pipeline.detect_timed(image, lambda: next(readings))
    assert stages == {"preprocess": 7, "forward": 7, "postprocess": 7}
    assert next(readings) == 1000 + 4 * 7


def test_timed_and_untimed_detections_are_the_same(checkpoint, image):
    pipeline = DetectionPipeline(checkpoint, backend="eager")
    plain = pipeline.detect(image)
    timed, _ = pipeline.detect_timed(image, itertools.count().__next__)
    assert len(plain.scores) > 5
    assert np.array_equal(plain.boxes, timed.boxes) and np.array_equal(plain.scores, timed.scores)
    assert np.array_equal(plain.labels, timed.labels)


def test_a_box_in_the_padding_is_no_detection(image):
    class Padding(ColourAdapter):
        def postprocess(self, raw, **rules):
            boxes = torch.tensor([[10.0, 10, 20, 20], [10, 100, 20, 127]])
            return [Detections(boxes=boxes, scores=torch.tensor([0.9, 0.8]), labels=torch.tensor([0, 0]))]

    found = ModelPipeline(Padding(), ColourSession(), Postprocessing()).detect(image)
    assert found.boxes.tolist() == [[7.5, pytest.approx(7.53, abs=0.05), 15, pytest.approx(15.06, abs=0.05)]]


def test_thresholds_reach_the_postprocessing(checkpoint, image):
    every = DetectionPipeline(checkpoint, backend="eager").detect(image)
    few = DetectionPipeline(checkpoint, backend="eager", max_det=3).detect(image)
    middle = float(np.median(every.scores))
    sure = DetectionPipeline(checkpoint, backend="eager", score_thresh=middle).detect(image)
    assert few.scores.tolist() == every.scores[:3].tolist()
    assert 0 < len(sure.scores) < len(every.scores) and sure.scores.min() > middle


@pytest.mark.parametrize(
    ("backend", "device", "words"),
    [
        ("onnxruntime", "cpu", "runs onnx and this file is safetensors; choose another backend or export"),
        ("null", "cuda", "has no device 'cuda' here; use cpu"),
        ("openvino", "cpu", "there is no backend 'openvino'; use one of eager"),
    ],
)
def test_a_backend_that_cannot_run_the_file_says_why(checkpoint, backend, device, words):
    with pytest.raises(InvalidInput, match=words):
        DetectionPipeline(checkpoint, backend=backend, device=device)


def test_the_number_of_threads_is_set(checkpoint):
    before = torch.get_num_threads()
    try:
        DetectionPipeline(checkpoint, backend="eager", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
