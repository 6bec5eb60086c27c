"""Run a spec: the one way in which every job is done, on a worker and without one."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from detection_core.operations.context import JobContext, Stopped, default_cache, never
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.events import EventWriter
from detection_core.schemas.results import Failure, JobResult
from detection_core.schemas.specs import JobSpec, input_fields, parse_spec

log = logging.getLogger(__name__)

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75

OPERATIONS: dict[str, str] = {
    "import": "detection_core.operations.import_dataset",
    "import_model": "detection_core.operations.import_model",
    "train": "detection_core.operations.train",
    "export": "detection_core.operations.export",
    "evaluate": "detection_core.operations.evaluate",
    "score": "detection_core.operations.score",
    "benchmark": "detection_core.operations.benchmark",
    "probe": "detection_core.operations.probe",
}

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
# How libraries without a class of their own say that memory is short.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "failed to allocate memory", "not enough memory", "alloc_failed")


def execute(spec: JobSpec, context: JobContext) -> JobResult:
    """Do what `spec` asks and leave `result.json` in the job's folder. Threads are fixed before any numerical library is loaded."""
    threads = str(getattr(spec, "threads", 1))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))
    result = import_module(OPERATIONS[spec.kind]).run(spec, context)
    write_whole(context.out / "result.json", result)
    return result


def run_spec(spec_path: Path, out: Path, inputs_dir: Path | None = None, *, stop: Callable[[], bool] = never) -> int:
    """Do the job of a spec file and leave its end in `out`.

    Writes `events.jsonl` line by line, and last, by rename, `result.json` or `failure.json`; a stopped job leaves neither.

    Returns:
        The exit status: 0 done, 1 failed, 2 bad input, 75 stopped and resumable.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "failure.json"):
        (out / name).unlink(missing_ok=True)
    spec: JobSpec | None = None
    try:
        spec = read_spec(spec_path)
        context = JobContext(out=out, events=EventWriter(out / "events.jsonl"), inputs=inputs_dir, cache=default_cache(), stop=stop)
        execute(spec, context)
    except Stopped:
        log.warning("stopped as asked")
        return STOPPED
    except Exception as error:
        failure = with_names(failure_of(error), spec)
        log.error(failure.message, exc_info=failure.kind != "user")
        write_whole(out / "failure.json", failure)
        return exit_status(failure)
    return DONE


def read_spec(path: Path) -> JobSpec:
    """Read a spec file; InvalidInput where it is not there, is not JSON or has wrong fields."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"the spec {path} cannot be read ({error.strerror}); correct the path") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path.name} is not JSON ({error}); download the spec again or correct the text") from None
    return parse_spec(data)


def write_whole(path: Path, record: Schema) -> None:
    """Write a record as JSON so that a reader sees all of it or nothing, even after a power cut."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(record.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def failure_of(error: Exception) -> Failure:
    """Say whose an error is: the user's input, a shortage of the machine, or ours."""
    if isinstance(error, InvalidInput):
        return Failure(kind="user", message=str(error))
    first_line = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = f" for {error.filename}" if error.filename else ""
        return Failure(kind="resource", message=f"the machine ran out of room{where} ({error.strerror}); free some and run the job again")
    if _is_out_of_memory(error):
        remedy = "use a smaller batch or input size, or a machine with more memory"
        return Failure(kind="resource", message=f"memory was not enough ({first_line[:200] or type(error).__name__}); {remedy}")
    name = type(error).__name__
    return Failure(kind="system", message=f"{name}: {first_line[:300]}; the log has the details" if first_line else f"{name}; see the log")


def with_names(failure: Failure, spec: JobSpec | None) -> Failure:
    """Call input files by the names that people gave them: on a worker they lie under their hash."""
    message = failure.message
    for file in input_fields(spec).values() if spec else ():
        if file.sha256 and file.name:
            message = message.replace(file.sha256, file.name)
    return failure.model_copy(update={"message": message})


def exit_status(failure: Failure) -> int:
    """Return 2 for the user's input, 1 for the rest."""
    return BAD_INPUT if failure.kind == "user" else FAILED


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
