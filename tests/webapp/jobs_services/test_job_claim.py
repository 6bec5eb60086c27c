"""Claims: in order, once, in the right slot, and never beside a measurement."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.db.models.functions import Now

from tests.webapp.jobs_services.helpers import benchmark, claim, evaluation, heavy, light, running, succeed
from webapp.hardware.models import HostLease
from webapp.hardware.services import host_lease_take
from webapp.jobs.models import Job, JobAttempt
from webapp.jobs.services import job_cancel, job_fail, job_look, job_renew

pytestmark = pytest.mark.django_db


def test_the_claim_goes_by_priority_and_then_by_age():
    jobs = [light(), light(priority=5), light(priority=5)]
    assert [claim().pk for _ in jobs] == [jobs[1].pk, jobs[2].pk, jobs[0].pk]
    assert claim() is None


def test_a_claim_takes_only_jobs_of_its_lanes_and_slot():
    light(lane="cuda"), heavy()
    assert claim("light") is None
    assert claim("light", lanes=("cuda", "cpu")).lane == "cuda"


def test_a_claim_leaves_alone_what_the_worker_has_no_backend_for():
    evaluation("onnxruntime")
    eager = evaluation("eager")
    assert claim("heavy", backends={"eager"}).pk == eager.pk
    assert claim("heavy", backends={"eager"}) is None
    assert claim("heavy").spec["backend"] == "onnxruntime"


def test_a_claimed_job_has_an_owner_a_lease_and_an_attempt():
    job = running()
    assert (job.state, job.worker, job.attempt) == ("running", "w#1", 1)
    assert Job.objects.filter(pk=job.pk, lease_expires_at__gt=Now()).exists()
    assert JobAttempt.objects.get(job=job).number == 1


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_get_the_same_job():
    for _ in range(12):
        light()
    barrier = threading.Barrier(4)

    def serve(number: int) -> list[int]:
        barrier.wait()
        try:
            jobs = [claim(worker=f"w{number}#1", host=f"host{number}") for _ in range(20)]
            return [job.pk for job in jobs if job is not None]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        claimed = [pk for pks in threads.map(serve, range(4)) for pk in pks]
    assert len(claimed) == len(set(claimed)) == 12


def test_a_lease_is_renewed_by_owner_and_attempt_whatever_its_expiry():
    job = running()
    Job.objects.update(lease_expires_at="2020-01-01T00:00Z")
    assert job_renew(job_id=job.pk, worker="w#1", attempt=1, host="host").owned
    assert Job.objects.filter(lease_expires_at__gt=Now()).exists()
    assert not job_renew(job_id=job.pk, worker="w#2", attempt=1, host="host").owned
    assert not job_renew(job_id=job.pk, worker="w#1", attempt=2, host="host").owned


def test_a_worker_sees_that_its_job_is_to_be_cancelled_or_is_not_its_own():
    job = running()
    look = {"job_id": job.pk, "worker": "w#1", "attempt": 1}
    assert (job_look(**look).owned, job_look(**look).cancel_requested) == (True, False)
    job_cancel(job=job, user=None)
    assert job_look(**look).cancel_requested and job_renew(**look, host="host").cancel_requested
    assert not job_look(**{**look, "attempt": 2}).owned


def test_a_measurement_waits_until_nothing_else_runs_on_its_host():
    other = running("light")
    benchmark()
    assert claim("heavy") is None
    succeed(other)
    assert claim("heavy").kind == "benchmark"


def test_nothing_starts_beside_a_measurement_on_its_host_but_elsewhere_it_does():
    benchmark()
    measured = claim("heavy")
    light(), heavy()
    assert claim("light") is None and claim("heavy", worker="v#1") is None
    assert claim("light", host="elsewhere") is not None
    job_fail(job=measured, attempt=1, kind="system", message="x")
    assert claim("heavy", worker="v#1") is not None


def test_a_measurement_that_is_first_in_line_is_not_starved_by_light_jobs():
    first = running("light")
    benchmark()
    assert claim("heavy") is None
    light()
    assert claim("light") is None, "a light job started although a measurement is next"
    succeed(first)
    assert claim("heavy").kind == "benchmark"


def test_a_cancelled_measurement_gives_its_place_up():
    running("light")
    measurement = benchmark()
    assert claim("heavy") is None
    job_cancel(job=measurement, user=None)
    light()
    assert claim("light") is not None


def test_the_place_of_a_measurement_that_nobody_asks_for_any_more_is_free_after_a_lease(monkeypatch):
    monkeypatch.setattr("webapp.hardware.services.database_restarted_lately", lambda: False)
    running("light")
    benchmark()
    assert claim("heavy") is None
    HostLease.objects.filter(exclusive=True).update(expires_at="2020-01-01T00:00Z")
    light()
    assert claim("light") is not None


def test_after_the_database_restarted_old_leases_of_a_host_still_count(monkeypatch):
    running("light")
    HostLease.objects.update(expires_at="2020-01-01T00:00Z")
    measurement = benchmark()
    monkeypatch.setattr("webapp.hardware.services.database_restarted_lately", lambda: True)
    assert not host_lease_take(host="host", job=measurement.uuid, exclusive=True)
    monkeypatch.setattr("webapp.hardware.services.database_restarted_lately", lambda: False)
    assert host_lease_take(host="host", job=measurement.uuid, exclusive=True)
