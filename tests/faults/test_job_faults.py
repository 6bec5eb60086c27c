"""What befalls a running job while its worker lives."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time

from django.core.files.storage import storages
from django.db import connection, transaction

from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import TrainSpec
from tests.workers.live import MODEL, LiveWorker, import_job, state_of, train_job, wait_for, wait_for_state
from webapp.artifacts.services import artifact_open, artifact_put_stream
from webapp.hardware.models import HostLease, Worker
from webapp.jobs.models import Job, JobAttempt, JobEvent
from webapp.jobs.queue import queue_name, send
from webapp.jobs.selectors import log_text
from webapp.jobs.services import job_cancel, job_create
from workers.processes import session_members, still_alive


def moves(job: Job) -> list[str]:
    """Return the states that a job went through."""
    return [event.data["to"] for event in JobEvent.objects.filter(job=job, type="move").order_by("seq")]


def test_a_killed_child_is_tried_again_from_its_saved_state_and_ends_once(worker: LiveWorker):
    job = train_job(worker.lane, sleep=120, state="epoch 2", grandchild=True, print_inputs=True)
    child = worker.child()
    wait_for(lambda: Job.objects.get(pk=job.pk).resume_sha256)
    os.kill(child, signal.SIGKILL)

    wait_for_state(job, "succeeded")
    assert moves(job) == ["queued", "running", "queued", "running", "succeeded"]
    assert job.outputs.filter(role="checkpoint_best").count() == 1
    assert not session_members(child), "a grandchild was left"
    assert "resume: None" in log_text(job, attempt=1)
    digest = hashlib.sha256(b"epoch 2").hexdigest()
    assert f"'sha256': '{digest}'" in log_text(job, attempt=2).split("resume:")[1], "the second attempt was not given the state"
    assert job.resume_sha256 == "" and not HostLease.objects.exists()


def test_a_child_that_is_killed_again_and_again_fails_for_lack_of_memory(worker: LiveWorker):
    job = import_job(worker.lane, signal=9)
    wait_for_state(job, "failed")
    assert (job.failure_kind, job.attempt) == ("resource", 3)
    assert "most likely for lack of memory" in job.failure_message and "smaller batch" in job.failure_message
    assert "the child starts" in job.log_tail


def test_a_crash_is_a_failure_with_its_signal_and_the_end_of_the_log(worker: LiveWorker):
    job = wait_for_state(import_job(worker.lane, signal=11), "failed")
    assert (job.failure_kind, job.attempt) == ("system", 1)
    assert "SIGSEGV" in job.failure_message and job.log_tail == "the child starts"
    assert artifact_open(job.outputs.get(role="log").artifact).read() == b"the child starts\n"


def test_bad_input_is_told_in_the_words_of_the_job(worker: LiveWorker):
    job = import_job(worker.lane, fail={"kind": "user", "message": "image a.jpg cannot be read; replace it"})
    wait_for_state(job, "failed")
    assert (job.failure_kind, job.failure_message) == ("user", "image a.jpg cannot be read; replace it")


def test_cancelling_a_job_that_ignores_sigterm_ends_all_its_processes_and_proves_it(worker: LiveWorker):
    job = train_job(worker.lane, sleep=120, grandchild=True, ignore_sigterm=True)
    child = worker.child()
    wait_for(lambda: len(session_members(child)) == 2)
    members = session_members(child)

    job_cancel(job=job, user=None)
    assert state_of(job) == "cancelling"
    wait_for_state(job, "cancelled")

    proof = JobAttempt.objects.get(job=job).cancel_proof
    assert (proof["processes"], proof["processes_gone"], proof["signal"]) == (2, True, "SIGKILL")
    assert 4 < proof["seconds"] < 12
    assert not still_alive(members)
    assert moves(job) == ["queued", "running", "cancelling", "cancelled"]
    wait_for_state(import_job(worker.lane), "succeeded")


def test_cancelling_a_willing_job_takes_about_a_second(worker: LiveWorker):
    job = train_job(worker.lane, sleep=120)
    wait_for(lambda: log_text(Job.objects.get(pk=job.pk)))
    job_cancel(job=job, user=None)
    wait_for_state(job, "cancelled")
    proof = JobAttempt.objects.get(job=job).cancel_proof
    assert proof["processes_gone"] and proof["signal"] == "SIGTERM"


def test_a_doubled_wake_up_runs_a_job_once(worker: LiveWorker):
    job = import_job(worker.lane, sleep=0.5)
    send([(queue_name(worker.lane, slot), str(job.uuid)) for slot in ("light", "heavy", "light", "light")])
    wait_for_state(job, "succeeded")
    assert moves(job) == ["queued", "running", "succeeded"]


def test_a_lost_wake_up_only_delays_a_job(worker: LiveWorker, monkeypatch):
    monkeypatch.setattr("webapp.jobs.queue.send", lambda messages: None)
    wait_for_state(import_job(worker.lane), "succeeded", seconds=10)


def test_a_job_whose_database_connections_are_cut_runs_through(make_worker):
    worker = make_worker(env={"LEASE_SECONDS": "20"}).start()  # as in production: the cuts must not outlast it on any machine
    job = import_job(worker.lane, sleep=1.5, events=[{"type": "warning", "message": f"number {place}"} for place in range(5)])
    wait_for_state(job, "running")
    for _ in range(12):  # beyond the end of the child, so that its result meets them as well
        with connection.cursor() as cursor:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            cursor.execute(query)
        time.sleep(0.2)
    connection.close_pool()  # those of this process were cut as well
    wait_for_state(job, "succeeded")
    assert job.attempt == 1
    warnings = JobEvent.objects.filter(job=job, type="warning").order_by("seq").values_list("data__message", flat=True)
    assert list(warnings) == [f"number {place}" for place in range(5)]


def test_a_worker_whose_job_was_given_to_another_kills_its_child_and_writes_nothing(worker: LiveWorker):
    job = train_job(worker.lane, sleep=120)
    child = worker.child()
    wait_for(lambda: log_text(Job.objects.get(pk=job.pk)))  # from now on it has nothing to write that could be refused
    Job.objects.filter(pk=job.pk).update(attempt=7, worker="another#1")

    wait_for(lambda: not session_members(child))
    wait_for(lambda: "is not ours any more" in worker.log)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.worker) == ("running", 7, "another#1")
    assert moves(job) == ["queued", "running"]


def test_a_stored_input_that_is_gone_is_told_with_its_field(worker: LiveWorker):
    lost = artifact_put_stream(chunks=[b"lost"], kind="dataset", name="bccd.tar", max_bytes=10)
    storages["default"].delete(lost.storage_key)
    spec = TrainSpec(model=MODEL, dataset=InputFile(sha256=lost.sha256))
    job = wait_for_state(job_create(spec=spec, lane=worker.lane), "failed")
    assert job.failure_message.startswith("field 'dataset': the bytes of 'bccd.tar'") and "upload it again" in job.failure_message
    assert not HostLease.objects.exists()


def test_a_saved_state_that_is_gone_lets_the_training_start_anew(worker: LiveWorker):
    with transaction.atomic():
        job = train_job(worker.lane, print_inputs=True)
        Job.objects.filter(pk=job.pk).update(resume_sha256="f" * 64)
    wait_for_state(job, "succeeded")
    assert "resume: None" in log_text(job)
    assert "the training starts anew" in JobEvent.objects.get(job=job, type="warning").data["message"]


def test_a_job_over_its_time_limit_is_ended_and_says_so(worker: LiveWorker):
    job = import_job(worker.lane, sleep=60)
    Job.objects.filter(pk=job.pk).update(time_limit_s=2)
    wait_for_state(job, "running", "failed")
    wait_for_state(job, "failed")
    assert job.failure_kind == "resource" and "time limit of" in job.failure_message


def test_a_light_job_runs_beside_a_heavy_one(worker: LiveWorker):
    heavy = train_job(worker.lane, sleep=60)
    wait_for_state(heavy, "running")
    second = train_job(worker.lane)
    wait_for_state(import_job(worker.lane), "succeeded")
    assert (state_of(heavy), state_of(second)) == ("running", "queued")
    job_cancel(job=heavy, user=None)
    wait_for_state(second, "succeeded")


def test_the_child_knows_no_secret(worker: LiveWorker):
    job = wait_for_state(import_job(worker.lane, print_env=True), "succeeded")
    environment = json.loads(log_text(job).splitlines()[1])
    assert environment["PARETOBOX_CACHE"].endswith("unpacked")
    assert not {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"} & set(environment)
    secrets = [os.environ[name] for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")]
    assert not any(secret in log_text(job) for secret in secrets)


def test_a_worker_reports_itself_with_what_it_can_run_and_what_it_runs(worker: LiveWorker):
    job = import_job(worker.lane, sleep=3)
    row = wait_for(lambda: Worker.objects.filter(name=worker.name, load__running__0__job=str(job.uuid)).first())
    assert row.lanes == [worker.lane] and row.load["memory_gb"] > 0
    wait_for_state(job, "succeeded")
