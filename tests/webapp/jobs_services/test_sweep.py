"""The sweep queues again what a dead worker held, and wakes up again for what waits."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from tests.factories import make_worker
from tests.webapp.jobs_services.helpers import claim, light, moves, running
from webapp.hardware.models import HostLease
from webapp.jobs.models import Job, JobAttempt
from webapp.jobs.services import job_cancel, jobs_of_former_worker_requeue, jobs_sweep
from webapp.jobs.services.sweep import LOCK

pytestmark = pytest.mark.django_db
PAST = "2020-01-01T00:00Z"


@pytest.fixture(autouse=True)
def database_runs_for_long(monkeypatch):
    """The test's server may have started a moment ago."""
    monkeypatch.setattr("webapp.jobs.services.sweep.database_restarted_lately", lambda: False)


def expire() -> None:
    Job.objects.update(lease_expires_at=PAST)


def test_a_job_with_a_fresh_lease_is_left_alone():
    running()
    assert jobs_sweep().requeued == 0
    assert Job.objects.get().state == "running"


def test_an_expired_job_is_queued_again_and_its_host_is_free():
    job = running()
    expire()
    assert jobs_sweep().requeued == 1
    job.refresh_from_db()
    assert (job.state, job.lost_attempts, job.worker) == ("queued", 1, "")
    assert JobAttempt.objects.get(job=job).outcome == "lost" and not HostLease.objects.exists()
    assert moves(job)[-1] == ("running", "queued")
    assert claim().attempt == 2


def test_a_job_that_is_lost_too_often_fails_with_a_sentence(settings):
    settings.MAX_ATTEMPTS = 3
    light()
    for _ in range(3):
        assert claim() is not None
        expire()
        jobs_sweep()
    job = Job.objects.get()
    assert (job.state, job.failure_kind) == ("failed", "system")
    assert job.failure_message == "Its worker w has not been heard of for 20 s; look at the worker's own log, then retry (3 times in all)"


def test_a_job_that_was_being_cancelled_ends_cancelled():
    job_cancel(job=running(), user=None)
    expire()
    assert jobs_sweep().cancelled == 1
    assert JobAttempt.objects.get().cancel_proof["processes_gone"] is None


def test_after_a_restart_of_the_database_the_sweep_waits_one_lease(monkeypatch):
    running()
    expire()
    monkeypatch.setattr("webapp.jobs.services.sweep.database_restarted_lately", lambda: True)
    assert not jobs_sweep().swept
    assert Job.objects.get().state == "running"


def test_old_queued_jobs_get_their_wake_up_again_where_a_worker_serves_them(monkeypatch):
    sent: list[Job] = []
    monkeypatch.setattr("webapp.jobs.services.sweep.wake_up", sent.extend)
    served, unserved = light(), light(lane="moon")
    make_worker()
    assert jobs_sweep().woken == 0
    Job.objects.update(woken_at=PAST)
    assert jobs_sweep().woken == 1 and sent == [served]
    assert jobs_sweep().woken == 0
    assert Job.objects.get(pk=unserved.pk).state == "queued"


def test_a_restarted_worker_takes_back_only_what_its_earlier_process_held():
    mine = running()
    light()
    other = claim(worker="wide#1")
    light()
    own = claim(worker="w#2")
    assert jobs_of_former_worker_requeue(name="w", worker="w#2") == 1
    assert [Job.objects.get(pk=job.pk).state for job in (mine, other, own)] == ["queued", "running", "running"]


@pytest.mark.django_db(transaction=True)
def test_one_sweep_runs_at_a_time():
    running()
    expire()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            held.set()
            done.wait(10)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    assert not jobs_sweep().swept
    done.set()
    thread.join()
    assert jobs_sweep().requeued == 1
