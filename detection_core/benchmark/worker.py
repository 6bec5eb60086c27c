"""One run, in this process or in a new one: `python -m detection_core.benchmark.worker FOLDER RUN`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from detection_core.backends.pipeline import DetectionPipeline
from detection_core.benchmark.clock import Clock, wall_clock
from detection_core.benchmark.environment import nvml_handle
from detection_core.benchmark.images import load_images
from detection_core.benchmark.runner import RunRecord, WarmupRule, measure
from detection_core.benchmark.telemetry import Telemetry, gpu_reader
from detection_core.benchmark.validity import run_flags
from detection_core.catalogue.specs import DurationRule
from detection_core.schemas.base import InvalidInput

OnProgress = Callable[[float, float | None], None]
PLAN, IMAGES = "plan.json", "images.npz"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


@dataclass(frozen=True)
class RunPlan:
    """What all runs of a measurement have in common."""

    artifact: str
    backend: str
    device: str
    threads: int
    score_thresh: float
    seed: int
    duration: DurationRule
    warmup: WarmupRule


def run_here(plan: RunPlan, images: Sequence[np.ndarray], *, run: int, on_progress: OnProgress, clock: Clock = wall_clock) -> RunRecord:
    """Load the model afresh, measure one run and judge it."""
    pipeline = DetectionPipeline(
        Path(plan.artifact), backend=plan.backend, device=plan.device, threads=plan.threads, score_thresh=plan.score_thresh
    )
    on_cuda = plan.device.startswith("cuda")
    handle = nvml_handle(plan.device) if on_cuda else None

    def stages(image: int) -> dict[str, int]:
        return pipeline.detect_timed(images[image], clock)[1]

    def whole(image: int) -> dict[str, int]:
        pipeline.detect(images[image])
        return {}

    start_ns = clock()
    try:
        with Telemetry(clock=clock, start_ns=start_ns, read_gpu=gpu_reader(handle) if handle is not None else None) as telemetry:
            record = measure(
                # On CUDA a clock between stages needs a synchronisation there, which would slow the headline down.
                whole if on_cuda else stages,
                plan.duration,
                warmup=plan.warmup,
                images=len(images),
                seed=plan.seed,
                run=run,
                clock=clock,
                start_ns=start_ns,
                stage_query=stages if on_cuda else None,
                read_telemetry=telemetry.read,
                on_progress=on_progress,
            )
    finally:
        pipeline.close()
    record.telemetry = telemetry.readings
    record.flags = run_flags(record)
    return record


def write_plan(folder: Path, plan: RunPlan) -> None:
    """Write what `run_in_new_process` reads, beside the images."""
    (folder / PLAN).write_text(json.dumps(asdict(plan)))


def read_plan(folder: Path) -> RunPlan:
    """Undo `write_plan`."""
    data = json.loads((folder / PLAN).read_text())
    return RunPlan(**data | {"duration": DurationRule(**data["duration"]), "warmup": WarmupRule(**data["warmup"])})


def run_in_new_process(folder: Path, *, run: int, threads: int, on_progress: OnProgress) -> RunRecord:
    """Measure one run in a fresh process of this process group; it is gone when this function is left, whatever the reason.

    Raises:
        InvalidInput: what the run raised.
        MemoryError: the process was killed from outside.
        RuntimeError: it ended in any other way without a record; the log has its words.
    """
    command = [sys.executable, "-m", "detection_core.benchmark.worker", str(folder), str(run)]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            _hear(line, on_progress)
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if code == -signal.SIGKILL:
        raise MemoryError(f"the process of run {run} was killed, most likely for want of memory; use a smaller detector or input")
    if code != 0:
        raise RuntimeError(f"the process of run {run} ended with status {code}; its last words are in the log")
    return RunRecord.from_dict(json.loads(_record_path(folder, run).read_text()))


def _hear(line: str, on_progress: OnProgress) -> None:
    """Act on one line of a run's process; libraries may write to the same stream, so other lines are passed by."""
    word, _, rest = line.partition(" ")
    if word == "progress":
        fraction, eta_s = json.loads(rest)
        on_progress(fraction, eta_s)
    elif word == "invalid":
        raise InvalidInput(json.loads(rest))


def _record_path(folder: Path, run: int) -> Path:
    return folder / f"run-{run}.json"


def main(arguments: Sequence[str]) -> int:
    """Measure one run as the plan in a folder says and leave its record there."""
    folder, run = Path(arguments[0]), int(arguments[1])
    _die_with_parent()
    plan = read_plan(folder)
    try:
        record = run_here(plan, load_images(folder / IMAGES), run=run, on_progress=lambda *state: _say("progress", state))
    except InvalidInput as error:
        _say("invalid", str(error))
        return 2
    part = folder / f"run-{run}.part"
    part.write_text(json.dumps(record.to_dict()))
    part.replace(_record_path(folder, run))
    return 0


def _say(word: str, value: object) -> None:
    sys.stdout.write(f"{word} {json.dumps(value)}\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # a kernel without prctl: the process group still ends it
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
