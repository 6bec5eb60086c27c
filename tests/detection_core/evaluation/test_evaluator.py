"""Evaluation of a pipeline: geometry, classes by name, and the same numbers by every way to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection_core.backends.pipeline import DetectionPipeline, ImageDetections, ModelPipeline
from detection_core.build import load_checkpoint
from detection_core.evaluation.coco_files import read_detections, write_detections
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.evaluation.evaluator import detection_rows, evaluate, evaluate_model, match_classes
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import Postprocessing
from tests.detection_core.tiny import ColourAdapter, ColourSession, draw_dataset, save_small_checkpoint


def colour_pipeline(adapter=None):
    return ModelPipeline(adapter or ColourAdapter(), ColourSession(), Postprocessing())


def test_a_detector_that_sees_every_object_scores_ap50_of_one(tmp_path):
    dataset = draw_dataset(tmp_path)
    done = []
    found = evaluate(colour_pipeline(), dataset, dataset.records, on_image=done.append)
    assert found.metrics.ap50 == pytest.approx(1)
    assert [entry.ap50 for entry in found.per_class] == [pytest.approx(1), pytest.approx(1)]
    assert done == [1, 2, 3]


def test_boxes_come_back_in_the_images_own_pixels(tmp_path):
    dataset = draw_dataset(tmp_path)
    rows = evaluate(colour_pipeline(), dataset, dataset.records).detections
    assert rows[:, 0].tolist() == [1, 1, 2] and rows[:, 6].tolist() == [1, 2, 2]
    assert rows[0, 1:5] == pytest.approx([8, 8, 32, 32], abs=1)
    assert rows[2, 1:5] == pytest.approx([10, 50, 32, 40], abs=1.5)


def test_classes_are_matched_by_name_not_by_place(tmp_path):
    class Swapped(ColourAdapter):
        classes = ("crop", "stone", "weed")

        def postprocess(self, raw, **rules):
            (found,) = super().postprocess(raw, **rules)
            found.labels[found.labels == 1] = 2
            return [found]

    dataset = draw_dataset(tmp_path)
    assert evaluate(colour_pipeline(Swapped()), dataset, dataset.records).metrics.ap50 == pytest.approx(1)


def test_detections_of_a_class_that_the_data_set_lacks_are_dropped():
    found = ImageDetections(boxes=np.array([[1.0, 2, 4, 8], [0, 0, 1, 1]]), scores=np.array([0.9, 0.8]), labels=np.array([1, 0]))
    rows = detection_rows(5, found, match_classes(("stone", "weed"), ("crop", "weed")))
    assert rows.tolist() == [[5, 1, 2, 3, 6, 0.9, 2]]


def test_a_model_without_a_common_class_is_refused_with_the_remedy():
    with pytest.raises(InvalidInput, match=r"the model knows dog and the data set has crop, weed.*names="):
        match_classes(("dog",), ("crop", "weed"))


def test_a_model_in_memory_scores_like_its_checkpoint_and_is_left_as_it_was(tmp_path):
    dataset = draw_dataset(tmp_path)
    checkpoint = save_small_checkpoint(tmp_path / "model.safetensors")
    adapter, model, manifest = load_checkpoint(checkpoint)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pipeline = DetectionPipeline(checkpoint, backend="eager")
    by_file = evaluate(pipeline, dataset, dataset.records)
    assert len(by_file.detections) > 20
    found = evaluate_model(adapter, model, dataset, dataset.records, threads=1)
    assert (found.metrics, found.per_class) == (by_file.metrics, by_file.per_class)
    assert pipeline.postprocessing == manifest.postprocessing
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_detections_file_scored_again_gives_the_same_numbers(tmp_path):
    dataset = draw_dataset(tmp_path)
    found = evaluate(colour_pipeline(), dataset, dataset.records)
    write_detections(tmp_path / "dt.json.gz", found.detections)
    rows, _ = read_detections(tmp_path / "dt.json.gz", found.ground_truth)
    assert coco_metrics(found.ground_truth, rows) == (found.metrics, found.per_class)
    assert 0 < found.metrics.ap < 1


def test_a_broken_image_is_named(tmp_path):
    dataset = draw_dataset(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"b\.png"):
        evaluate(colour_pipeline(), dataset, dataset.records)
