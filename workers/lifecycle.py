"""The life of one attempt at a job: inputs, child, record. The only broad `except` of the project is here."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import Failure, JobResult, parse_result
from detection_core.schemas.specs import input_fields, parse_spec
from webapp.artifacts.models import Artifact
from webapp.artifacts.services import artifact_put
from webapp.datasets.folders import folder_checked
from webapp.jobs.models import Job
from webapp.jobs.services import NotOwner, job_cancelled, job_event_add, job_fail, job_lost, job_requeue, job_succeed
from webapp.results.services import job_record
from workers import failures
from workers.child import Child, Proof
from workers.database import patiently
from workers.identity import Identity
from workers.inputs import InputCache, InputMissing, Interrupted
from workers.lease import LeaseKeeper
from workers.orphans import PidFiles
from workers.telling import Teller

logger = logging.getLogger(__name__)
WATCH_SECONDS = 0.1
CANCEL_GRACE_S = 5.0
STOP_GRACE_S = 20.0
LAST_WORDS_S = 15.0

Outputs = dict[str, Artifact]


def child_command() -> Sequence[str]:
    """Return what runs a job, before the arguments of `run`."""
    return tuple(getattr(settings, "CHILD_COMMAND", (sys.executable, "-m", "detection_core")))


@dataclass
class Place:
    """Where attempts run: this worker, its cache, its pid files, and the word that it stops."""

    me: Identity
    cache: InputCache
    pid_files: PidFiles
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Attempt:
    """One try at a job in its own folder."""

    job: Job
    place: Place
    lease: LeaseKeeper
    folder: Path
    started: float

    @property
    def number(self) -> int:
        """The attempt's number, which every write carries."""
        return self.job.attempt

    @property
    def out(self) -> Path:
        """Where the child writes."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        """What the child says on its standard streams."""
        return self.folder / "log.txt"

    def interrupted(self) -> bool:
        """Say whether something ends the attempt from outside."""
        return self.lease.lost.is_set() or self.lease.cancelled.is_set() or self.place.stopping.is_set()

    def overdue(self) -> bool:
        """Say whether the attempt has run longer than the job may."""
        return time.monotonic() - self.started > self.job.time_limit_s


def job_run(job: Job, place: Place) -> None:
    """Carry a claimed job to its end, whatever happens. Never raises."""
    folder = place.me.folder / "jobs" / f"{job.uuid}-{job.attempt}"
    try:
        (folder / "out").mkdir(parents=True, exist_ok=True)
        with LeaseKeeper(job, place.me) as lease:
            attempt = Attempt(job, place, lease, folder, time.monotonic())
            _carry(attempt)
    except NotOwner:
        logger.warning("job %s: attempt %s is not ours any more; everything of it is dropped", job.uuid, job.attempt)
    except Exception as error:
        logger.exception("job %s: attempt %s could not be finished", job.uuid, job.attempt)
        _fail_for_good(job, place, failures.failure_of(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _carry(attempt: Attempt) -> None:
    try:
        spec = _prepare(attempt)
        child = _start(attempt, spec)
    except InputMissing as error:
        return _record_failure(attempt, Failure(kind="system", message=str(error)), log_tail="")
    except Interrupted:
        return _record_interruption(attempt, Proof(0, True, 0.0, "none").to_dict())
    try:
        _watch(attempt, child)
    finally:
        # Also where recording fails or the job is not ours any more: no process outlives its attempt.
        child.end()
    return None


def _prepare(attempt: Attempt) -> Path:
    """Bring the inputs into the attempt's folder and write the spec beside them."""
    job, inputs = attempt.job, attempt.folder / "inputs"
    inputs.mkdir(exist_ok=True)
    spec = dict(job.spec)
    if job.kind == "train" and job.resume_sha256:
        spec["resume"] = {"sha256": job.resume_sha256, "name": "training_state.tar"}
    for name, file in input_fields(parse_spec(spec)).items():
        if file.sha256 is None or (inputs / file.sha256).exists():
            continue
        try:
            patiently(partial(attempt.place.cache.provide, file.sha256, into=inputs, interrupted=attempt.interrupted))
        except InputMissing as error:
            if name != "resume":
                raise InputMissing(f"field '{name}': {error}") from None
            spec["resume"] = job.spec.get("resume")
            _warn(attempt, f"the saved state cannot be used, the training starts anew: {error}")
    _check_folder(spec)
    path = attempt.folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def _check_folder(spec: dict[str, Any]) -> None:
    """A folder of the server was checked when the job was queued; here it is looked at again, where it is read."""
    ref = (spec.get("source") or {}).get("ref") or ""
    if not ref.startswith("/"):
        return
    try:
        if str(folder_checked(ref)) != ref:
            raise InvalidInput(f"'{ref}' has become a link since the job was queued; import the folder it leads to")
    except InvalidInput as error:
        raise InputMissing(f"field 'source': {error}") from None


def _start(attempt: Attempt, spec: Path) -> Child:
    folder, place = attempt.folder, attempt.place
    argv = [*child_command(), "run", str(spec), "--out", str(attempt.out), "--inputs", str(folder / "inputs"), "--lifeline"]
    extra = {"PARETOBOX_CACHE": str(place.cache.unpacked), "PYTHONUNBUFFERED": "1"}
    return Child(argv, folder=folder, log=attempt.log, pid_files=place.pid_files, extra_env=extra)


def _watch(attempt: Attempt, child: Child) -> None:
    """Stay with the child until it ends or has to be ended, then record how."""
    teller = Teller(attempt.job, out=attempt.out, log=attempt.log)
    oom_kills = failures.oom_kills()
    while (status := child.poll()) is None:
        if attempt.lease.lost.is_set():
            raise NotOwner
        if attempt.lease.cancelled.is_set():
            return _cancel(attempt, child, teller)
        if attempt.place.stopping.is_set():
            return _give_back(attempt, child, teller)
        if attempt.overdue():
            child.stop(grace=CANCEL_GRACE_S)
            _last_words(attempt, teller)
            return _record_failure(attempt, failures.time_limit_failure(attempt.job.time_limit_s))
        teller.try_to_tell()
        time.sleep(WATCH_SECONDS)
    child.end()
    _last_words(attempt, teller)
    return _record_end(attempt, status, killed_for_memory=oom_kills is not None and (failures.oom_kills() or 0) > oom_kills)


def _cancel(attempt: Attempt, child: Child, teller: Teller) -> None:
    proof = child.stop(grace=CANCEL_GRACE_S)
    _last_words(attempt, teller)
    _record_interruption(attempt, proof.to_dict())


def _give_back(attempt: Attempt, child: Child, teller: Teller) -> None:
    """Let the child save what it has; its last state is kept, then the job goes back to the queue. One that just finished is recorded."""
    child.stop(grace=STOP_GRACE_S, whole_group=False)
    _last_words(attempt, teller)
    if child.poll() == failures.DONE and (attempt.out / "result.json").exists():
        return _record_end(attempt, failures.DONE, killed_for_memory=False)
    return _record_interruption(attempt, {"processes_gone": True})


def _record_interruption(attempt: Attempt, proof: dict[str, object]) -> None:
    if attempt.lease.lost.is_set():
        raise NotOwner
    job, number = attempt.job, attempt.number
    if attempt.lease.cancelled.is_set():
        outputs = _log_output(attempt)
        _last(attempt, lambda: job_cancelled(job=job, attempt=number, proof=proof, outputs=outputs))
        logger.info("job %s: cancelled, %s", job.uuid, proof)
    else:
        _last(attempt, lambda: job_requeue(job=job, attempt=number, reason="its worker was stopped"))
        logger.info("job %s: given back, this worker stops", job.uuid)


def _record_end(attempt: Attempt, status: int, *, killed_for_memory: bool) -> None:
    result_path = attempt.out / "result.json"
    if status == failures.DONE and result_path.exists():
        return _record_success(attempt, parse_result(json.loads(result_path.read_bytes())))
    log_tail = failures.tail(attempt.log)
    ending = failures.ending_of(status=status, folder=attempt.out, log_tail=log_tail, killed_for_memory=killed_for_memory)
    if not ending.again:
        return _record_failure(attempt, ending.failure, log_tail=log_tail)
    job, number, failure = attempt.job, attempt.number, ending.failure
    told = {"reason": failure.message, "kind": failure.kind, "log_tail": log_tail}
    _last(attempt, partial(job_lost, job=job, attempt=number, most=ending.most, **told))
    return None


def _record_success(attempt: Attempt, result: JobResult) -> None:
    """Store the outputs, then end the job and record what it found in one transaction."""
    outputs = _outputs(attempt, result) | _log_output(attempt)

    def end() -> None:
        with transaction.atomic():
            job = job_succeed(job=attempt.job, attempt=attempt.number, result=result, outputs=outputs)
            job_record(job=job, result=result, outputs=outputs)

    _last(attempt, end)
    logger.info("job %s: succeeded", attempt.job.uuid)


def _record_failure(attempt: Attempt, failure: Failure, log_tail: str | None = None) -> None:
    tail = failures.tail(attempt.log) if log_tail is None else log_tail
    outputs = _log_output(attempt)
    told = {"kind": failure.kind, "message": failure.message, "log_tail": tail}
    _last(attempt, partial(job_fail, job=attempt.job, attempt=attempt.number, outputs=outputs, **told))
    logger.info("job %s: failed (%s): %s", attempt.job.uuid, failure.kind, failure.message)


def _outputs(attempt: Attempt, result: JobResult) -> Outputs:
    outputs: Outputs = {}
    for file in result.files:
        path = (attempt.out / file.path).resolve()
        if not path.is_relative_to(attempt.out.resolve()):
            raise InvalidInput(f"output '{file.path}' lies outside the job's folder; write outputs below --out")
        outputs[file.role] = _put(attempt, path, file.role, path.name, file.sha256)
    return outputs


def _log_output(attempt: Attempt) -> Outputs:
    if not attempt.log.exists() or attempt.log.stat().st_size == 0:
        return {}
    return {"log": _put(attempt, attempt.log, "log", "log.txt", None)}


def _put(attempt: Attempt, path: Path, kind: str, name: str, sha256: str | None) -> Artifact:
    def put() -> Artifact:
        return artifact_put(path=path, kind=kind, name=name, user=attempt.job.created_by, sha256=sha256)

    return patiently(put, give_up=attempt.lease.lost.is_set)


def _last_words(attempt: Attempt, teller: Teller) -> None:
    """Tell all that is left: a state that was saved a moment ago must not be lost."""
    patiently(lambda: teller.tell(all_of_it=True), give_up=_give_up(attempt.place))


def _last(attempt: Attempt, write: Callable[[], object]) -> None:
    """Do a job's last write; while the database is away, wait for it: the row still says that the job runs."""
    patiently(write, give_up=_give_up(attempt.place))


def _give_up(place: Place) -> Callable[[], bool]:
    """A worker that stops waits for the database only so long; the lease then ends and the job runs again elsewhere."""
    deadline = time.monotonic() + LAST_WORDS_S
    return lambda: place.stopping.is_set() and time.monotonic() > deadline


def _warn(attempt: Attempt, message: str) -> None:
    data = {"message": message}
    patiently(lambda: job_event_add(job_id=attempt.job.pk, attempt=attempt.number, type="warning", data=data))


def _fail_for_good(job: Job, place: Place, failure: Failure) -> None:
    try:
        patiently(lambda: job_fail(job=job, attempt=job.attempt, kind=failure.kind, message=failure.message), give_up=_give_up(place))
    except (NotOwner, DatabaseError):
        logger.exception("job %s: its failure could not be written; its lease will end and it will run again", job.uuid)
