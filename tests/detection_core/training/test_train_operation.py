"""The train operation: from a spec to checkpoints, and from a stop to the same checkpoints."""

from __future__ import annotations

import json

import pytest

from detection_core.build import load_checkpoint
from detection_core.evaluation.evaluator import evaluate_model
from detection_core.operations.context import JobContext, Stopped
from detection_core.operations.train import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import EventWriter
from detection_core.schemas.specs import TrainSpec
from tests.detection_core.training.small import draw_dataset, small_recipe


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
        assert evaluate_model(adapter, model, squares, squares.split("val"), threads=1)[0] == saved.metrics
    assert (result.best.metrics.ap or 0) >= (result.last.metrics.ap or 0)


def test_progress_and_metrics_are_told(trained):
    out, _ = trained
    assert events_of(out, "progress")[-1]["fraction"] == 1.0
    metrics = events_of(out, "metric")
    assert [event["epoch"] for event in metrics] == [1.0, 2.0]
    assert {"loss", "lr", "val_ap", "val_ap50", "images_per_s", "classification"} <= set(metrics[-1]["values"]) | {"val_ap", "val_ap50"}


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
    assert any("start at random" in message for message in warnings)
    assert any("no val split" in message for message in warnings)
    assert result.best.metrics is None and result.best.sha256 == result.last.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "yolo99"}, "there is no detector named 'yolo99'"),
        ({"recipe": {"model_options": {"head_convs": "many"}, "input_size": 64}}, "head_convs"),
        ({"recipe": {"model_options": {"heads": 3}, "input_size": 64}}, "heads"),
    ],
)
def test_a_wrong_spec_is_refused_before_anything_is_trained(squares, tmp_path, changes, words):
    with pytest.raises(InvalidInput, match=words):
        run(spec_of(**changes), context_of(tmp_path, squares))
    assert not list(tmp_path.glob("*.safetensors"))
