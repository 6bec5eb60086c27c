"""Workers report themselves; machines are recorded once."""

from __future__ import annotations

import pytest
from django.utils import timezone

from detection_core.schemas.results import Environment as Record
from detection_core.schemas.results import ProbeResult
from tests.factories import environment_fields, make_worker
from webapp.hardware.models import Environment, Worker
from webapp.hardware.selectors import living_since, living_workers, name_taken
from webapp.hardware.services import environment_record, worker_drain, worker_heartbeat, worker_probed, worker_register, worker_stop

pytestmark = pytest.mark.django_db
ME = {"name": "w", "host": "h", "boot_id": "b", "lanes": ["cpu"]}


def test_a_worker_that_starts_again_keeps_what_it_could_run_and_serves_again():
    worker_register(**ME, pid=1)
    worker_probed(name="w", pid=1, result=ProbeResult(environment=Record.parse(environment_fields()), backends=()))
    worker_drain(name="w", draining=True)
    worker_stop(name="w", pid=1)
    assert not living_workers()
    again = worker_register(**ME, pid=2)
    assert (again.pid, again.draining, again.stopped_at) == (2, False, None)
    assert again.capabilities["kind"] == "probe" and again.environment is not None
    assert list(living_workers()) == [again]


def test_a_heartbeat_tells_whether_the_worker_is_to_take_new_jobs_and_whether_it_is_known():
    worker_register(**ME, pid=1)
    assert worker_heartbeat(name="w", pid=1, load={"cpu_percent": 3}).draining is False
    worker_drain(name="w", draining=True)
    beat = worker_heartbeat(name="w", pid=1, load={})
    assert beat.known and beat.draining
    assert not worker_heartbeat(name="w", pid=2, load={}).known
    assert not worker_heartbeat(name="gone", pid=1, load={}).known


def test_the_earlier_process_of_a_name_can_no_more_end_or_change_its_row():
    worker_register(**ME, pid=2)
    worker_stop(name="w", pid=1)
    assert Worker.objects.get().stopped_at is None


def test_a_name_is_taken_only_by_a_living_worker_on_another_machine():
    make_worker("w", host="elsewhere", boot_id="x")
    assert name_taken(name="w", host="h", boot_id="b")
    assert not name_taken(name="w", host="elsewhere", boot_id="x")
    Worker.objects.update(stopped_at=timezone.now())
    assert not name_taken(name="w", host="h", boot_id="b")


def test_equal_machines_are_one_row_with_the_first_record():
    first = environment_record(record=Record.parse(environment_fields()))
    second = environment_record(record=Record.parse({**environment_fields(), "hostname": "renamed"}))
    assert first.pk == second.pk and Environment.objects.get().record["hostname"] == "cpu-lab"
    other = environment_record(record=Record.parse(environment_fields("another cpu")))
    assert other.pk != first.pk and other.title == "another cpu, 2 cores"


def test_a_record_that_came_in_from_elsewhere_is_never_the_row_of_a_machine_that_was_seen_here():
    record = Record.parse(environment_fields())
    told = environment_record(record=record, origin="cpu-lab: a cpu")
    seen = environment_record(record=record)
    assert told.pk != seen.pk and told.stable_hash != seen.stable_hash == record.stable_hash
    assert (seen.title.endswith(", offline"), told.title.endswith(", offline")) == (False, True)
    assert environment_record(record=record, origin="cpu-lab: a cpu") == told
    assert environment_record(record=record, origin="another: a cpu") != told
    long = environment_record(record=Record.parse(environment_fields("x" * 300)), origin="cpu-lab: a cpu")
    assert len(long.title) == 200 and long.title.endswith(", offline")


def test_living_since_is_a_lease_ago_by_the_clock_of_the_database():
    assert 18 < (timezone.now() - living_since()).total_seconds() < 25
