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

FOUND = CocoMetrics(**dict.fromkeys(CocoMetrics.model_fields) | {"ap": 0.25, "ap50": 0.5})


class Silent:
    """An event writer that nobody reads."""

    def progress(self, *args, **values): ...

    def metric(self, *args, **values): ...


def hooks(stop=lambda: False):
    return [Validation(lambda model: FOUND, images=3), Journal(Silent()), StopOnRequest(stop)]


def stop_at(run, step):
    return lambda: run.step == step


def resumed_at(step, recipe, squares, name, folder):
    """Train to `step`, save, and go on from the file to the end, as another process would, with other workers."""
    first, batches, manifest = start(recipe, squares, name)
    with pytest.raises(StopRequested):
        run_training(first, batches.epoch, hooks(stop_at(first, step)))
    save_state(folder / "state.tar", first, manifest)

    torch.rand(11)  # another process has another past
    second, batches, _ = start(recipe, squares, name, workers=2)
    load_state(folder / "state.tar", second, manifest)
    assert second.step == step
    run_training(second, batches.epoch, hooks())
    return second


def require_equal(run, other, manifest):
    """All that a training leaves is the same to the bit; only times differ."""
    for ours, theirs in ((run.model, other.model), (run.average.model, other.average.model)):
        assert checkpoint_bytes(ours.state_dict(), manifest) == checkpoint_bytes(theirs.state_dict(), manifest)
    times = ("images_per_s", "waiting_share")
    without_time = [[{k: v for k, v in line.items() if k not in times} for line in one.history] for one in (run, other)]
    assert without_time[0] == without_time[1] and len(without_time[0]) == 2
    assert run.best is not None and other.best is not None and run.best.epoch == other.best.epoch
    assert run.step == other.step and run.stale == other.stale


@pytest.mark.parametrize(("name", "step"), [("fcos_resnet10_fpn", 3), ("fasterrcnn_resnet10_fpn", 2)])
def test_a_resumed_training_ends_with_the_same_bits(squares, tmp_path, name, step):
    straight, batches, manifest = start(small_recipe(), squares, name)
    run_training(straight, batches.epoch, hooks())
    second = resumed_at(step, small_recipe(), squares, name, tmp_path)
    assert second.step == straight.step == 6
    require_equal(second, straight, manifest)


EVERYTHING = {
    "batch_size": 2,
    "accumulate": 2,
    "schedule": "linear",
    "freeze": ["backbone.body.conv1"],
    "augmentation": {
        "mosaic": 0.5,
        "mixup": 0.5,
        "copy_paste": 0.5,
        "iou_crop": 0.5,
        "noise": 0.05,
        "multi_scale": 0.5,
        "closing_fraction": 0.5,
    },
}


def test_with_mixing_scales_average_and_accumulation_it_may_be_killed_at_each_step_and_two_runs_of_a_seed_are_one(squares, tmp_path):
    recipe = small_recipe(**EVERYTHING)
    straight, batches, manifest = start(recipe, squares)
    run_training(straight, batches.epoch, hooks())
    assert straight.step == 6 and straight.images == 20, "two epochs of 5 batches in 3 steps, the last of one batch"
    again, batches, _ = start(recipe, squares)
    run_training(again, batches.epoch, hooks())
    require_equal(again, straight, manifest)
    for step in range(1, 6):  # while images are mixed, at the end of an epoch, and in the closing epoch
        require_equal(resumed_at(step, recipe, squares, "fcos_resnet10_fpn", tmp_path), straight, manifest)


def test_what_decides_the_end_of_a_training_comes_back(squares, tmp_path):
    recipe = small_recipe(epochs=20, early_stop=3)
    run, batches, manifest = start(recipe, squares)
    with pytest.raises(StopRequested):
        run_training(run, batches.epoch, hooks(stop_at(run, 8)))
    assert run.stale == 1, "the first evaluation is the best, the second is not better"
    save_state(tmp_path / "state.tar", run, manifest)
    again, batches, _ = start(recipe, squares)
    load_state(tmp_path / "state.tar", again, manifest)
    run_training(again, batches.epoch, hooks())
    assert (again.ended, again.epoch, again.stale) == ("early_stop", 4, 3)


def test_a_stop_that_is_asked_for_during_an_evaluation_counts_that_evaluation_once(squares, tmp_path):
    recipe = small_recipe(epochs=20, early_stop=3)
    run, batches, manifest = start(recipe, squares)
    evaluated = []
    validation, journal, stop = hooks(stop=lambda: len(evaluated) == 2)
    validation._evaluate = lambda model: evaluated.append(run.epoch) or FOUND
    with pytest.raises(StopRequested):
        run_training(run, batches.epoch, [validation, journal, stop])
    save_state(tmp_path / "state.tar", run, manifest)
    again, batches, _ = start(recipe, squares)
    load_state(tmp_path / "state.tar", again, manifest)
    run_training(again, batches.epoch, hooks())
    assert (again.ended, again.epoch, again.stale) == ("early_stop", 4, 3)


def test_the_scale_of_fp16_gradients_comes_back(squares, tmp_path):
    run, _, manifest = start(small_recipe(), squares)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    run.scaler.load_state_dict(run.scaler.state_dict() | {"_growth_tracker": 7})
    save_state(tmp_path / "state.tar", run, manifest)
    again, _, _ = start(small_recipe(), squares)
    again.scaler = torch.amp.GradScaler("cpu")
    load_state(tmp_path / "state.tar", again, manifest)
    assert again.scaler.state_dict() == run.scaler.state_dict() and again.scaler.state_dict()["_growth_tracker"] == 7


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
    assert again.balance is not None and again.balance.figures() == run.balance.figures()
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
