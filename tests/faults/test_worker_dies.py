"""The worker goes, or the database, or the queue server: the job does not."""

from __future__ import annotations

import signal
import time

from tests.workers.live import import_job, state_of, train_job, wait_for, wait_for_state
from webapp.artifacts.models import Artifact
from webapp.hardware.models import HostLease, Worker
from webapp.jobs.models import JobAttempt
from workers.processes import session_members

DEAD_PORT = "redis://127.0.0.1:9/0"


def test_a_killed_worker_that_starts_again_goes_on_from_the_saved_state_and_leaves_no_orphan(make_worker):
    worker = make_worker().start()
    job = train_job(worker.lane, sleep=120, state="epoch 3", grandchild=True, ignore_sigterm=True)
    child = worker.child()
    wait_for(lambda: type(job).objects.get(pk=job.pk).resume_sha256)

    worker.end(signal.SIGKILL)
    worker.start()

    wait_for_state(job, "succeeded")
    assert (job.attempt, job.lost_attempts) == (2, 1)
    first, second = JobAttempt.objects.filter(job=job).order_by("number")
    assert (first.outcome, second.outcome) == ("lost", "succeeded")
    assert "ended without a word and has started again" in first.reason, "the lease had to run out first"
    assert not session_members(child)
    assert job.outputs.filter(role="checkpoint_best").count() == 1


def test_another_worker_takes_over_the_job_of_a_dead_one_after_its_lease(make_worker):
    first = make_worker().start()
    second = make_worker(env={"PARETOBOX_LANES": first.lane}).start()
    first_job = import_job(first.lane, sleep=60)
    holder = wait_for(lambda: type(first_job).objects.get(pk=first_job.pk).worker)
    dead, alive = (first, second) if holder.startswith(first.name) else (second, first)

    dead.end(signal.SIGKILL)
    killed_at = time.monotonic()
    again = wait_for(lambda: type(first_job).objects.filter(pk=first_job.pk, attempt=2, state="running").first(), seconds=20)

    assert again.worker.startswith(alive.name)
    assert time.monotonic() - killed_at < 12
    assert Worker.objects.get(name=dead.name).stopped_at is None


def test_a_worker_that_is_told_to_stop_saves_the_state_and_gives_the_job_back_without_counting_it_as_lost(make_worker):
    worker = make_worker().start()
    job = train_job(worker.lane, sleep=120)
    child = worker.child()
    wait_for(lambda: "child starts" in "".join(job.log_chunks.values_list("text", flat=True)))

    assert worker.end(signal.SIGTERM) == 0

    wait_for_state(job, "queued", seconds=1)
    assert (job.attempt, job.lost_attempts, job.worker) == (1, 0, "")
    assert Artifact.objects.get(sha256=job.resume_sha256).kind == "training_state"
    assert not session_members(child) and not HostLease.objects.exists()
    assert Worker.objects.get(name=worker.name).stopped_at is not None
    worker.start()
    wait_for_state(job, "succeeded")
    assert job.lost_attempts == 0


def test_without_a_queue_server_jobs_are_found_all_the_same(make_worker):
    worker = make_worker(env={"REDIS_URL": DEAD_PORT}).start()
    job = import_job(worker.lane)
    wait_for_state(job, "succeeded", seconds=15)
    assert worker.end(signal.SIGTERM, seconds=40) == 0


def test_a_second_process_of_the_same_name_refuses_to_start(make_worker):
    worker = make_worker().start()
    twin = make_worker(lane=worker.lane).start(wait=False)
    assert twin.process is not None and twin.process.wait(timeout=40) != 0
    assert "is running already" in worker.log
    job = import_job(worker.lane)
    wait_for_state(job, "succeeded")


def test_a_child_whose_worker_dies_ends_by_its_lifeline(make_worker):
    worker = make_worker().start()
    job = train_job(worker.lane, sleep=120)
    child = worker.child()
    wait_for_state(job, "running")
    worker.end(signal.SIGKILL)
    wait_for(lambda: not session_members(child), seconds=10)
    assert state_of(job) == "running"
