"""A training that was interrupted ends with the same bits as one that was not."""

from __future__ import annotations

import tarfile

import pytest
import torch

from detection_core.build import checkpoint_bytes
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import CocoMetrics
from detection_core.training.hooks import Journal, StopOnRequest, StopRequested, Validation
from detection_core.training.loop import run_training
from detection_core.training.state import load_state, save_state
from tests.detection_core.training.small import small_recipe, start

NO_NUMBERS = dict.fromkeys(CocoMetrics.model_fields)


class Silent:
    """An event writer that nobody reads."""

    def progress(self, *args, **values): ...

    def metric(self, *args, **values): ...


def hooks(stop=lambda: False):
    found = CocoMetrics(**NO_NUMBERS | {"ap": 0.25, "ap50": 0.5})
    return [Validation(lambda model: found, images=3), Journal(Silent()), StopOnRequest(stop)]


def stop_at(run, step):
    return lambda: run.step == step


@pytest.mark.parametrize(("name", "step"), [("fcos_resnet10_fpn", 3), ("fasterrcnn_resnet10_fpn", 2)])
def test_a_resumed_training_ends_with_the_same_bits(squares, tmp_path, name, step):
    straight, batches, manifest = start(small_recipe(), squares, name)
    run_training(straight, batches.epoch, hooks())

    first, batches, _ = start(small_recipe(), squares, name)
    with pytest.raises(StopRequested):
        run_training(first, batches.epoch, hooks(stop_at(first, step)))
    save_state(tmp_path / "state.tar", first, manifest)

    torch.rand(11)  # another process has another past
    second, batches, _ = start(small_recipe(), squares, name)
    load_state(tmp_path / "state.tar", second, manifest)
    assert second.step == step
    run_training(second, batches.epoch, hooks())

    assert second.step == straight.step == 6
    for ours, theirs in ((second.model, straight.model), (second.average.model, straight.average.model)):
        assert checkpoint_bytes(ours.state_dict(), manifest) == checkpoint_bytes(theirs.state_dict(), manifest)
    without_time = [[{k: v for k, v in line.items() if k != "images_per_s"} for line in run.history] for run in (second, straight)]
    assert without_time[0] == without_time[1] and len(without_time[0]) == 2
    assert second.best is not None and straight.best is not None and second.best.epoch == straight.best.epoch


def interrupted(squares, tmp_path, **changes):
    run, batches, manifest = start(small_recipe(**changes), squares)
    with pytest.raises(StopRequested):
        run_training(run, batches.epoch, hooks(stop_at(run, 4)))
    path = tmp_path / "state.tar"
    save_state(path, run, manifest)
    return path, run, manifest


def test_the_state_is_plain_data_without_pickles_and_leaves_no_part_file(squares, tmp_path):
    path, _, _ = interrupted(squares, tmp_path)
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert set(names) == {"state.json", "model.safetensors", "average.safetensors", "optimizer.safetensors", "best.safetensors"}
    assert [file.name for file in tmp_path.iterdir()] == ["state.tar"]


def test_history_best_and_time_come_back(squares, tmp_path):
    path, run, manifest = interrupted(squares, tmp_path)
    again, _, _ = start(small_recipe(), squares)
    load_state(path, again, manifest)
    assert again.history == run.history and len(again.history) == 1
    assert again.best.metrics == run.best.metrics and again.best.epoch == 1.0
    assert all(torch.equal(again.best.weights[name], tensor) for name, tensor in run.best.weights.items())
    assert 0 < again.carried_s <= run.elapsed_s and again.carried_images == run.images
    assert again.model.backbone.body.conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 6}, "seed"), ({"batch_size": 5}, "batch_size"), ({"model_options": {"head_convs": 1}}, "model_options")],
)
def test_a_state_of_another_recipe_is_refused(squares, tmp_path, changes, words):
    path, _, manifest = interrupted(squares, tmp_path)
    other, _, _ = start(small_recipe(**changes), squares)
    with pytest.raises(InvalidInput, match=f"differs from this training in .*{words}"):
        load_state(path, other, manifest)


def test_a_state_of_other_data_or_another_model_is_refused(squares, tmp_path):
    path, _, manifest = interrupted(squares, tmp_path)
    run, _, _ = start(small_recipe(), squares)
    with pytest.raises(InvalidInput, match="dataset_sha256"):
        load_state(path, run, manifest.model_copy(update={"dataset_sha256": "c" * 64}))
    other, _, other_manifest = start(small_recipe(), squares, "ssd_resnet10")
    with pytest.raises(InvalidInput, match="model, options"):
        load_state(path, other, other_manifest)


def test_more_epochs_and_another_time_limit_may_follow(squares, tmp_path):
    path, _, manifest = interrupted(squares, tmp_path)
    run, batches, _ = start(small_recipe(epochs=3, max_minutes=60), squares)
    load_state(path, run, manifest)
    run_training(run, batches.epoch, [])
    assert run.epoch == 3 and run.step == 9


def test_a_torn_or_foreign_file_is_no_state(squares, tmp_path):
    path, _, manifest = interrupted(squares, tmp_path)
    run, _, _ = start(small_recipe(), squares)
    whole = path.read_bytes()
    for name, content in {"torn.tar": whole[: len(whole) // 2], "text.tar": b"hello", "empty.tar": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match="not a complete training state"):
            load_state(tmp_path / name, run, manifest)
    with pytest.raises(InvalidInput, match="there is no training state"):
        load_state(tmp_path / "absent.tar", run, manifest)
