"""The hardware page: who lives, who fell silent, what each can run."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from tests.factories import make_environment, make_job, make_result, make_worker
from webapp.hardware.models import HostLease


def test_without_workers_the_page_says_what_to_do(client, db):
    assert "No worker is here" in client.get("/hardware").content.decode()


def test_a_living_worker_shows_lanes_load_and_backends_with_reasons(client, db):
    make_worker(environment=make_environment())
    page = client.get("/hardware").content.decode()
    assert "state-live" in page
    assert "cpu, cpu-lab" in page
    assert "63 %" in page
    assert "onnxruntime is not installed" in page


def test_a_silent_worker_is_shown_as_lost(client, db):
    make_worker("quiet", seconds_ago=3600, capabilities={})
    page = client.get("/hardware/workers").content.decode()
    assert "state-lost" in page
    assert "state-live" not in page


def test_a_worker_that_said_goodbye_is_not_shown(client, db):
    make_worker("gone", seconds_ago=3600, stopped_at=timezone.now())
    assert "gone" not in client.get("/hardware/workers").content.decode()


def test_a_draining_worker_says_that_it_takes_nothing_new(client, db):
    make_worker(draining=True)
    assert "takes nothing new" in client.get("/hardware/workers").content.decode()


def test_a_job_that_has_the_host_alone_is_a_click_away(client, db):
    worker = make_worker()
    job = make_job("benchmark", state="running")
    HostLease.objects.create(host=worker.boot_id, job=job.uuid, exclusive=True, expires_at=timezone.now() + timedelta(minutes=1))
    part = client.get("/hardware/workers").content.decode()
    assert f"/jobs/{job.uuid}" in part
    assert "has the host alone" in part


def test_a_lease_that_ended_is_not_shown(client, db):
    worker = make_worker()
    job = make_job("benchmark", state="running")
    HostLease.objects.create(host=worker.boot_id, job=job.uuid, exclusive=True, expires_at=timezone.now() - timedelta(minutes=1))
    assert str(job.uuid) not in client.get("/hardware/workers").content.decode()


def test_machines_count_their_results_and_lead_to_them(client, db):
    row = make_result()
    page = client.get("/hardware").content.decode()
    assert f"/leaderboard?environment={row.environment.uuid}&amp;show=all" in page


def test_the_page_takes_the_same_number_of_queries_with_many_workers(client, db, django_assert_max_num_queries):
    for number in range(12):
        make_worker(f"worker-{number}", environment=make_environment())
    with django_assert_max_num_queries(8):
        client.get("/hardware")
