"""The child of every job: what it leaves behind, and whose fault it says an error is."""

from __future__ import annotations

import errno
import json
import os

import pytest

from detection_core.operations import run as module
from detection_core.operations.context import Stopped
from detection_core.operations.run import failure_of, run_spec, write_whole
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import Failure
from tests.detection_core.evaluation.test_coco_files import ANNOTATION, ground_truth

FILES = {"curves.json.gz", "examples.json.gz"}  # what a scoring leaves


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth()))
    (tmp_path / "dt.json").write_text(json.dumps([{**ANNOTATION, "score": 0.5}]))
    path = tmp_path / "spec.json"
    path.write_text(
        json.dumps({"kind": "score", "ground_truth": {"ref": str(tmp_path / "gt.json")}, "predictions": {"ref": str(tmp_path / "dt.json")}})
    )
    return path


def left_in(folder):
    return {path.name for path in folder.iterdir()}


def fail_with(monkeypatch, error):
    class Operation:
        @staticmethod
        def run(spec, context):
            raise error

    monkeypatch.setattr(module, "import_module", lambda name: Operation)


def test_a_done_job_leaves_its_result_and_nothing_half_written(spec, tmp_path):
    assert run_spec(spec, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]["ap"] == pytest.approx(1)
    assert left_in(tmp_path / "out") == {"result.json", "events.jsonl", *FILES}


def test_another_attempt_in_the_same_folder_clears_the_ends_of_the_last_one(spec, tmp_path, monkeypatch):
    assert run_spec(spec, tmp_path / "out") == 0
    fail_with(monkeypatch, InvalidInput("no"))
    assert run_spec(spec, tmp_path / "out") == 2
    assert left_in(tmp_path / "out") == {"failure.json", "events.jsonl", *FILES}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "spec.json is not JSON"),
        ("[]", "field 'kind' is None; use one of import, import_model, train"),
        ('{"kind": "score", "colour": 1}', "field 'colour' is not known"),
    ],
)
def test_a_broken_spec_is_the_users_failure(tmp_path, text, words):
    (tmp_path / "spec.json").write_text(text)
    assert run_spec(tmp_path / "spec.json", tmp_path / "out") == 2
    failure = Failure.parse((tmp_path / "out" / "failure.json").read_text())
    assert failure.kind == "user" and words in failure.message


def test_an_absent_spec_is_the_users_failure(tmp_path):
    assert run_spec(tmp_path / "none.json", tmp_path / "out") == 2
    assert "correct the path" in (tmp_path / "out" / "failure.json").read_text()


def test_a_stopped_job_exits_75_and_leaves_neither_result_nor_failure(spec, tmp_path, monkeypatch):
    fail_with(monkeypatch, Stopped())
    assert run_spec(spec, tmp_path / "out") == 75
    assert left_in(tmp_path / "out") <= {"events.jsonl"}


def test_the_stop_flag_reaches_the_operation(spec, tmp_path):
    assert run_spec(spec, tmp_path / "out", stop=lambda: True) == 75


def test_an_error_of_ours_is_one_line_for_the_user_and_a_traceback_in_the_log(spec, tmp_path, monkeypatch, caplog):
    fail_with(monkeypatch, KeyError("weights\nof the second line"))
    assert run_spec(spec, tmp_path / "out") == 1
    failure = Failure.parse((tmp_path / "out" / "failure.json").read_text())
    assert failure.kind == "system" and failure.message.startswith("KeyError") and "\n" not in failure.message
    assert caplog.records[-1].exc_info


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InvalidInput("image 17 is broken; remove it"), "user", "image 17"),
        (MemoryError(), "resource", "memory was not enough (MemoryError)"),
        (OutOfMemoryError("CUDA: tried to allocate"), "resource", "smaller batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "resource", "memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x"), "resource", "for /data/x"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/data/x"), "system", "PermissionError"),
        (RuntimeError("mat1 and mat2 shapes"), "system", "RuntimeError: mat1"),
        (AssertionError(), "system", "AssertionError; see the log"),
    ],
)
def test_each_error_is_sorted_by_whose_it_is(error, kind, words):
    failure = failure_of(error)
    assert failure.kind == kind and words in failure.message


def test_torchs_own_error_counts_as_a_shortage():
    import torch

    assert failure_of(torch.OutOfMemoryError("CUDA out of memory")).kind == "resource"
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**48)
    assert failure_of(error.value).kind == "resource"


def test_threads_are_fixed_before_the_operation_is_loaded(tmp_path, monkeypatch):
    seen = {}

    def load(name):
        seen.update({variable: os.environ[variable] for variable in module.THREAD_VARIABLES})
        raise InvalidInput("seen enough")

    monkeypatch.setattr(module, "import_module", load)
    (tmp_path / "spec.json").write_text(json.dumps({"kind": "export", "checkpoint": {"ref": "x"}, "threads": 3}))
    run_spec(tmp_path / "spec.json", tmp_path / "out")
    assert seen == dict.fromkeys(module.THREAD_VARIABLES, "3")


def test_a_record_that_cannot_be_written_whole_is_not_seen_at_all(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_whole(tmp_path / "result.json", Failure(kind="user", message="x"))
    assert not (tmp_path / "result.json").exists()


def test_every_kind_of_spec_has_its_operation():
    from importlib.util import find_spec

    from detection_core.schemas.specs import SPEC_TYPES

    assert set(module.OPERATIONS) == set(SPEC_TYPES)
    assert all(find_spec(name) for name in module.OPERATIONS.values())
