"""The process of a run, seen from both of its ends."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from detection_core.benchmark import worker
from detection_core.benchmark.images import save_images
from detection_core.benchmark.runner import WARMUPS
from detection_core.benchmark.worker import RunPlan, run_in_new_process, write_plan
from detection_core.catalogue.scenarios import DURATIONS
from detection_core.schemas.base import InvalidInput


@pytest.fixture
def in_place_of_a_run(monkeypatch):
    """Return what makes the next processes run a line of Python instead; `started` lists them."""
    started = []
    popen = worker.subprocess.Popen

    def install(code):
        monkeypatch.setattr(
            worker.subprocess, "Popen", lambda command, **named: started.append(popen([sys.executable, "-c", code], **named)) or started[-1]
        )
        return started

    return install


def run(folder, on_progress=lambda fraction, eta_s: None):
    return run_in_new_process(folder, run=1, threads=1, on_progress=on_progress)


def test_a_stop_ends_the_process_of_the_run(in_place_of_a_run, tmp_path):
    started = in_place_of_a_run("import time\nwhile True: print('progress [0.25, 5.0]', flush=True); time.sleep(0.05)")
    told = []

    def stop(fraction, eta_s):
        told.append((fraction, eta_s))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop)
    assert told == [(0.25, 5.0)] * 2
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


def test_a_process_killed_from_outside_counts_as_want_of_memory(in_place_of_a_run, tmp_path):
    in_place_of_a_run("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(MemoryError, match="run 1"):
        run(tmp_path)


def test_a_process_that_ends_in_any_other_way_is_an_error_of_ours(in_place_of_a_run, tmp_path):
    in_place_of_a_run("print('some library says hello'); raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="status 3"):
        run(tmp_path)


def test_bad_input_found_in_the_process_reaches_the_user_as_its_own_sentence(in_place_of_a_run, tmp_path):
    in_place_of_a_run("print('invalid \"there is no device; use the CPU\"'); raise SystemExit(2)")
    with pytest.raises(InvalidInput, match=r"^there is no device; use the CPU$"):
        run(tmp_path)


def test_threads_of_numerical_libraries_are_fixed_before_the_process_loads_them(in_place_of_a_run, tmp_path):
    in_place_of_a_run("import os; print('progress [' + os.environ['OMP_NUM_THREADS'] + ', null]'); raise SystemExit(3)")
    told = []
    with pytest.raises(RuntimeError):
        run_in_new_process(tmp_path, run=0, threads=7, on_progress=lambda fraction, eta_s: told.append(fraction))
    assert told == [7]


def test_the_process_says_bad_input_in_one_line(monkeypatch, capsys, checkpoint, tmp_path):
    monkeypatch.setattr(worker, "_die_with_parent", lambda: None)
    plan = RunPlan(str(checkpoint), "eager", "cuda:77", 1, 0.001, 0, DURATIONS["standard"], WARMUPS["standard"])
    write_plan(tmp_path, plan)
    save_images(tmp_path / worker.IMAGES, [np.zeros((8, 8, 3), np.uint8)])
    assert worker.main([str(tmp_path), "0"]) == 2
    line = capsys.readouterr().out
    assert line.startswith('invalid "')
    assert "cuda" in line.lower()
    assert not list(tmp_path.glob("run-*"))


def test_a_plan_survives_its_file(tmp_path):
    plan = RunPlan("a.onnx", "onnxruntime", "cpu", 2, 0.25, 7, replace(DURATIONS["full"], runs=2), WARMUPS["full"])
    write_plan(tmp_path, plan)
    assert worker.read_plan(tmp_path) == plan
