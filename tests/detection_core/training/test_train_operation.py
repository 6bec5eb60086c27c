"""The train operation: from a spec to checkpoints, and from a stop to the same checkpoints."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from detection_core.build import load_checkpoint
from detection_core.evaluation.evaluator import evaluate_model
from detection_core.operations.context import JobContext, Stopped
from detection_core.operations.samples import chosen_images
from detection_core.operations.train import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import EventWriter
from detection_core.schemas.specs import TrainSpec
from tests.detection_core.training.small import draw_dataset, small_recipe
from tests.detection_core.training.test_loop import Clock


def context_of(out, dataset, stop=lambda: False):
    out.mkdir(parents=True, exist_ok=True)

    class Context(JobContext):
        def dataset(self, file):
            return dataset

    return Context(out=out, events=EventWriter(out / "events.jsonl"), inputs=None, cache=out, stop=stop)


def spec_of(**changes):
    return TrainSpec.parse({"model": "fcos_resnet10_fpn", "dataset": {"ref": "squares"}, "recipe": small_recipe().to_dict()} | changes)


def events_of(out, kind):
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["type"] == kind]


class StopAfter:
    """Says "stop" from the n-th question on."""

    def __init__(self, questions):
        self.left = questions

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory, squares):
    out = tmp_path_factory.mktemp("straight")
    return out, run(spec_of(), context_of(out, squares))


def test_a_training_leaves_checkpoints_that_give_their_numbers_again(trained, squares):
    out, result = trained
    assert [file.path for file in result.files] == ["best.safetensors", "last.safetensors"]
    assert (result.steps, result.epochs, len(result.history)) == (6, 2.0, 2)
    for saved in (result.best, result.last):
        adapter, model, manifest = load_checkpoint(out / saved.path)
        assert manifest == result.manifest and manifest.dataset_sha256 == squares.content_hash
        assert evaluate_model(adapter, model, squares, squares.split("val"), threads=1).metrics == saved.metrics
    assert (result.best.metrics.ap or 0) >= (result.last.metrics.ap or 0)


def test_progress_and_metrics_are_told(trained):
    out, _ = trained
    assert events_of(out, "progress")[-1]["fraction"] == 1.0
    metrics = events_of(out, "metric")
    assert [event["epoch"] for event in metrics] == [1.0, 2.0]
    assert {"loss", "lr", "val_ap", "val_ap50", "images_per_s", "classification"} <= set(metrics[-1]["values"]) | {"val_ap", "val_ap50"}


def test_after_each_evaluation_the_same_images_of_val_are_shown_with_what_is_found_on_them(trained, squares):
    told = events_of(trained[0], "samples")
    assert [(event["step"], event["epoch"]) for event in told] == [(3, 1.0), (6, 2.0)]
    shown = {record.image_id: len(record.boxes) for record in chosen_images(squares.split("val"))}
    for event in told:
        assert {image["id"]: len(image["truth"]) for image in event["examples"]["images"]} == shown
        assert event["examples"]["score_thresh"] == 0.3


def test_images_to_be_shown_have_objects_and_stand_evenly_over_the_split(squares):
    records = [replace(squares.records[0], image_id=number, boxes=np.zeros((number % 2, 4))) for number in range(1, 21)]
    assert [record.image_id for record in chosen_images(records)] == [1, 5, 11, 15]
    assert [record.image_id for record in chosen_images(records[:4])] == [1, 3]
    assert [record.image_id for record in chosen_images(records[1:2])] == [2]  # nothing else is there


def test_the_share_of_waiting_and_the_end_are_told_and_the_balance_of_each_level_in_every_epoch(trained, squares):
    out, result = trained
    assert 0 <= result.waiting_share <= 1 and result.ended == "epochs" and result.recipe.seed == 5
    assert 0 <= events_of(out, "metric")[-1]["values"]["waiting_share"] <= 1
    for line in result.history:
        assert set(line) >= {"waiting_share", "positives_0", "negatives_3", "positive_share_1", "negative_share_2"}
        # FCOS at 64 px: 8x8, 4x4, 2x2 and 1x1 points for each of the 10 images.
        assert [line[f"positives_{level}"] + line[f"negatives_{level}"] for level in range(4)] == [640, 160, 40, 10]
        assert "positives_4" not in line
        shares = [line[f"{kind}_share_{level}"] for kind in ("positive", "negative") for level in range(4)]
        assert sum(shares) == pytest.approx(1) and min(shares) >= 0
    assert result.history[0]["positives_0"] + result.history[0]["positives_1"] > 0
    told = [event["values"] for event in events_of(out, "metric")]
    assert told[0]["negatives_0"] == result.history[0]["negatives_0"]


def test_a_training_whose_ap_does_not_rise_stops_early_and_says_so(squares, tmp_path):
    recipe = small_recipe(epochs=30, early_stop=2, lr=1e-9, augmentation={"scale_min": 1, "scale_max": 1})
    result = run(spec_of(recipe=recipe.to_dict()), context_of(tmp_path, squares))
    assert result.ended == "early_stop" and result.epochs == 3
    assert [line["evaluations_since_best"] for line in result.history] == [0, 1, 2]
    (warning,) = events_of(tmp_path, "warning")
    assert warning["message"] == "stopped early at epoch 3: 2 evaluations in a row without a better AP on val"


@pytest.mark.parametrize(("batch_size", "minutes", "warned"), [(1, 0.5, True), (10, 1, False)])
def test_a_time_limit_that_ends_before_every_image_was_seen_once_is_told_with_a_remedy(
    squares, tmp_path, monkeypatch, batch_size, minutes, warned
):
    clock = Clock(tick=1.0)
    monkeypatch.setattr("detection_core.operations.train.time", clock)
    monkeypatch.setattr("detection_core.training.loop.time", clock)
    recipe = small_recipe(epochs=1000, batch_size=batch_size, max_minutes=minutes)
    result = run(spec_of(recipe=recipe.to_dict()), context_of(tmp_path, squares))
    assert result.ended == "time" and (0 < result.epochs < 1) == warned
    told = [
        f"the 0.5 min ended when {result.steps} of 10 training images had been seen, none of them twice: "
        "raise 'max_minutes', or lower 'input_size', or take a smaller detector"
    ]
    assert [event["message"] for event in events_of(tmp_path, "warning")] == (told if warned else [])


def test_what_ended_a_training_is_what_ended_its_steps_and_not_its_last_evaluation(squares, tmp_path, monkeypatch):
    """The last one is without a better AP too, and one of those would have ended it."""
    clock = Clock(tick=1.0)
    monkeypatch.setattr("detection_core.operations.train.time", clock)
    monkeypatch.setattr("detection_core.training.loop.time", clock)
    recipe = small_recipe(epochs=1000, batch_size=10, max_minutes=4, eval_every=12, early_stop=1, lr=1e-9)
    result = run(spec_of(recipe=recipe.to_dict()), context_of(tmp_path, squares))
    assert [line["evaluations_since_best"] for line in result.history if "evaluations_since_best" in line] == [0, 1]
    assert result.ended == "time" and not events_of(tmp_path, "warning")


def test_workers_and_cache_are_of_the_machine_and_change_no_file(trained, squares, tmp_path):
    _, straight = trained
    result = run(spec_of(data_workers=3, cache_mb=0), context_of(tmp_path, squares))
    assert (result.best.sha256, result.last.sha256) == (straight.best.sha256, straight.last.sha256)


def test_what_is_frozen_comes_out_as_it_went_in(trained, squares, tmp_path):
    out, _ = trained
    recipe = small_recipe(epochs=1, freeze=["backbone"])
    result = run(spec_of(weights={"ref": str(out / "best.safetensors")}, recipe=recipe.to_dict()), context_of(tmp_path, squares))
    before, after = (load_checkpoint(path)[1].state_dict() for path in (out / "best.safetensors", tmp_path / result.last.path))
    same = {name: torch.equal(tensor, after[name]) for name, tensor in before.items()}
    assert all(kept for name, kept in same.items() if name.startswith("backbone."))
    assert not any(kept for name, kept in same.items() if name.startswith("head.") and name.endswith("conv.0.weight"))


def test_a_training_in_bf16_keeps_weights_of_fp32(squares, tmp_path, monkeypatch):
    monkeypatch.setattr("detection_core.operations.train.cpu_info", lambda: {"instruction_sets": ["avx512_bf16"]})
    found = {}
    for dtype in ("fp32", "bf16"):
        recipe = small_recipe(epochs=1, dtype=dtype)
        found[dtype] = run(spec_of(recipe=recipe.to_dict()), context_of(tmp_path / dtype, squares))
    losses = [result.history[0]["loss"] for result in found.values()]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.2)
    assert all(
        tensor.dtype != torch.bfloat16 for tensor in load_checkpoint(tmp_path / "bf16" / "last.safetensors")[1].state_dict().values()
    )


@pytest.mark.gpu
def test_fp16_on_a_gpu_is_resumed_with_its_scale(squares, tmp_path):
    spec = {"recipe": small_recipe(dtype="fp16").to_dict(), "device": "cuda"}
    with pytest.raises(Stopped):
        run(spec_of(**spec), context_of(tmp_path / "first", squares, stop=StopAfter(5)))
    resumed = run(spec_of(**spec, resume={"ref": str(tmp_path / "first")}), context_of(tmp_path / "second", squares))
    assert resumed.steps == 6 and all(math.isfinite(line["loss"]) for line in resumed.history)


@pytest.mark.parametrize("model", ["fcos_resnet10_fpn", "retinanet_resnet10_fpn", "ssd_resnet10", "fasterrcnn_resnet10_fpn", "fastestdet"])
def test_every_family_is_trained_at_several_scales(squares, tmp_path, model):
    recipe = small_recipe(epochs=1, batch_size=2, augmentation={"multi_scale": 0.5})
    result = run(spec_of(model=model, recipe=recipe.to_dict()), context_of(tmp_path, squares))
    assert result.manifest.input.width == 64 and math.isfinite(result.history[0]["loss"])


@pytest.mark.parametrize("questions", [2, 5])
def test_a_stopped_training_saves_its_state_and_the_next_attempt_ends_with_the_same_files(trained, squares, tmp_path, questions):
    _, straight = trained
    with pytest.raises(Stopped):
        run(spec_of(), context_of(tmp_path / "first", squares, stop=StopAfter(questions)))
    (state,) = events_of(tmp_path / "first", "state")
    assert state["file"]["role"] == "training_state" and not (tmp_path / "first" / "last.safetensors").exists()
    resumed = run(spec_of(resume={"ref": str(tmp_path / "first")}), context_of(tmp_path / "second", squares))
    assert (resumed.best.sha256, resumed.last.sha256) == (straight.best.sha256, straight.last.sha256)
    assert (resumed.best.metrics, resumed.last.metrics) == (straight.best.metrics, straight.last.metrics)


def test_weights_to_start_from_may_have_other_classes(trained, squares, tmp_path):
    out, _ = trained
    other = draw_dataset(tmp_path / "data", train=4, val=0)
    object.__setattr__(other, "classes", ("crop", "weed", "stone"))
    spec = spec_of(weights={"ref": str(out / "best.safetensors")}, recipe=small_recipe(epochs=1).to_dict())
    result = run(spec, context_of(tmp_path / "out", other))
    warnings = [event["message"] for event in events_of(tmp_path / "out", "warning")]
    assert any("begin at random" in message for message in warnings)
    assert any("no val split" in message for message in warnings)
    assert result.best.metrics is None and result.best.sha256 == result.last.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "yolo99"}, "there is no detector named 'yolo99'"),
        ({"recipe": {"model_options": {"head_convs": "many"}, "input_size": 64}}, "head_convs"),
        ({"recipe": {"model_options": {"heads": 3}, "input_size": 64}}, "heads"),
        ({"recipe": {"freeze": "trunk", "input_size": 64}}, "'freeze' names 'trunk'"),
        ({"recipe": {"dtype": "fp16", "input_size": 64}}, "dtype 'fp16' needs a CUDA device"),
        ({"model": "ssd300_vgg16", "recipe": {"augmentation": {"multi_scale": 0.3}}}, "'multi_scale' needs a square input"),
        (
            {"model": "ssd300_vgg16", "recipe": {"augmentation": {"multi_scale": 0.3}, "input_size": 320}},
            "needs an input of at least 300 px",
        ),
    ],
)
def test_a_wrong_spec_is_refused_before_anything_is_trained(squares, tmp_path, changes, words):
    with pytest.raises(InvalidInput, match=words):
        run(spec_of(**changes), context_of(tmp_path, squares))
    assert not list(tmp_path.glob("*.safetensors"))


def test_bf16_is_refused_on_a_cpu_without_its_instructions(squares, tmp_path, monkeypatch):
    monkeypatch.setattr("detection_core.operations.train.cpu_info", lambda: {"instruction_sets": ["avx2", "avx512f"]})
    with pytest.raises(InvalidInput, match=r"this CPU has no instructions for bf16, .*; use dtype 'fp32'"):
        run(spec_of(recipe=small_recipe(dtype="bf16").to_dict()), context_of(tmp_path, squares))


def test_early_stop_without_a_val_split_is_refused(tmp_path):
    dataset = draw_dataset(tmp_path / "data", train=4, val=0)
    with pytest.raises(InvalidInput, match="has no val split, so no AP can tell when to stop"):
        run(spec_of(recipe=small_recipe(early_stop=2).to_dict()), context_of(tmp_path / "out", dataset))
