"""What a person reads of a job: its place, why it waits, how long, what it said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import EvaluateSpec, ImportSpec, TrainSpec
from tests.factories import make_worker
from tests.webapp.jobs_services.helpers import IMPORT, MODEL, benchmark, claim, evaluation, file, heavy, light, running, succeed
from webapp.jobs import selectors
from webapp.jobs.models import Job
from webapp.jobs.services import job_create, job_event_add, job_log_append
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db
FILE = InputFile(sha256="0" * 64)


def test_the_place_in_line_counts_only_the_same_lane_and_slot():
    first, other_lane, second, urgent = light(), light(lane="cuda"), light(), light(priority=1)
    heavy()
    assert [selectors.queue_position(job) for job in (urgent, first, second, other_lane)] == [1, 2, 3, 1]
    assert selectors.queue_position(claim()) is None


def test_a_lane_without_a_worker_says_so_and_names_the_ones_that_are_served():
    job = light(lane="cuda")
    assert selectors.why_waiting(job) == "No living worker serves lane cuda; start one (make up starts a worker of lane cpu)."
    make_worker()
    assert selectors.why_waiting(job) == "No living worker serves lane cuda; start one, or choose lane cpu or cpu-lab."
    assert selectors.what_cannot_run(IMPORT, "cuda") == selectors.why_waiting(job)


def test_a_worker_that_is_silent_or_draining_or_stopped_does_not_count():
    make_worker("silent", seconds_ago=60)
    make_worker("draining", draining=True)
    make_worker("stopped", stopped_at=timezone.now())
    assert selectors.lanes_served() == [] and "No living worker" in selectors.why_waiting(light())


def test_why_a_job_waits_names_what_is_before_it():
    make_worker()
    first, second = light(), light()
    assert selectors.why_waiting(first) == "It is next; a worker takes it within seconds."
    assert selectors.why_waiting(second) == "1 job is before it in lane cpu."
    third = light()
    assert selectors.why_waiting(third) == "2 jobs are before it in lane cpu."
    assert selectors.why_waiting(claim()) == ""


def test_a_job_that_waits_for_another_says_which():
    data = light(title="bccd")
    training = job_create(spec=TrainSpec(model=MODEL, dataset=InputFile()), needs={"dataset": (data, "dataset")})
    assert selectors.why_waiting(training) == "It waits for import bccd (queued)."


def test_a_job_behind_a_measurement_and_the_measurement_itself_say_so():
    make_worker(boot_id="host", load={"running": [{"job": "x"}]})
    measurement = benchmark()
    assert "It measures latency and starts once nothing else runs" in selectors.why_waiting(measurement)
    claim("heavy")
    assert selectors.why_waiting(light()) == "A latency measurement has the machine to itself; this job is next."


def test_a_job_that_needs_a_backend_nobody_has_says_which_before_and_while_it_waits():
    make_worker()
    job = evaluation("onnxruntime")
    sentence = selectors.why_waiting(job)
    assert sentence.startswith("No worker of lane cpu can run the backend onnxruntime: onnxruntime is not installed")
    assert selectors.what_cannot_run(EvaluateSpec(artifact=FILE, backend="onnxruntime", dataset=FILE), "cpu") == sentence
    assert selectors.what_cannot_run(EvaluateSpec(artifact=FILE, backend="eager", dataset=FILE), "cpu") is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"threads": 8}, "The job asks for 8 threads and the workers of lane cpu have at most 2"),
        ({"device": "cuda"}, "No worker of lane cpu has a cuda device"),
    ],
)
def test_a_spec_that_asks_for_more_than_a_lane_has_is_told_before_it_is_queued(fields, sentence):
    make_worker()
    assert selectors.what_cannot_run(TrainSpec(model=MODEL, dataset=FILE, **fields), "cpu").startswith(sentence)


def test_a_worker_that_was_not_probed_yet_is_not_judged():
    make_worker(capabilities={})
    assert selectors.what_cannot_run(EvaluateSpec(artifact=FILE, backend="onnxruntime", dataset=FILE, device="cuda"), "cpu") is None


def test_the_estimate_is_the_median_of_past_jobs_of_the_kind_and_of_the_model():
    assert selectors.estimate_seconds(light()) is None
    now = timezone.now()
    for seconds in (10, 20, 90):
        job = succeed(running_import())
        Job.objects.filter(pk=job.pk).update(started_at=now - timedelta(seconds=seconds), finished_at=now)
    assert selectors.estimate_seconds(light()) == 20
    assert selectors.estimate_seconds(heavy()) is None


def test_a_training_that_its_epochs_end_is_judged_epoch_by_epoch():
    now = timezone.now()
    for epochs, minutes, seconds in ((4, None, 40), (10, None, 100), (1000, 5.0, 310)):
        recipe = Recipe(epochs=epochs, max_minutes=minutes)
        job = job_create(spec=TrainSpec(model=MODEL, dataset=file(), recipe=recipe))
        Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, started_at=now - timedelta(seconds=seconds), finished_at=now)
    wanted = job_create(spec=TrainSpec(model=MODEL, dataset=file(), recipe=Recipe(epochs=24)))
    assert selectors.estimate_seconds(wanted) == pytest.approx(240)


def running_import() -> Job:
    light(priority=9)
    job = claim()
    assert job is not None
    return job


def test_the_log_is_read_from_any_byte_of_any_attempt():
    job = running()
    for offset, text in ((0, "één\n"), (6, "two\n")):
        job_log_append(job_id=job.pk, attempt=1, offset=offset, text=text)
    assert selectors.log_text(job) == "één\ntwo\n"
    assert selectors.log_text(job, offset=6) == "two\n"
    assert selectors.log_text(job, offset=8) == "o\n"
    assert selectors.log_text(job, offset=10) == selectors.log_text(job, attempt=2) == ""


def test_events_follow_a_number():
    job = running()
    job_event_add(job_id=job.pk, attempt=1, type="warning", data={"message": "x"})
    assert [event.seq for event in selectors.events_after(job, 1)] == [2, 3]
    assert [event.seq for event in selectors.events_after(job, 1, limit=1)] == [2]


def test_lists_are_filtered_searched_and_paged():
    jobs = [light(title=f"number {place}") for place in range(5)]
    heavy(title="a training")
    page = selectors.job_list(kind="import", page=2, per_page=2)
    assert (page.total, page.pages, [job.title for job in page.jobs]) == (5, 3, ["number 2", "number 1"])
    assert selectors.job_list(page=99, per_page=2).page == 3
    assert [job.title for job in selectors.job_list(search="fcos").jobs] == ["a training"]
    assert [job.pk for job in selectors.job_list(search=str(jobs[0].uuid)).jobs] == [jobs[0].pk]
    assert selectors.job_list(search="100% nothing_").total == 0
    assert selectors.job_get(jobs[0].uuid) == jobs[0]


def test_the_threads_of_a_lane_are_those_of_its_weakest_worker():
    assert selectors.lane_threads("cpu") == 1
    make_worker("a", threads=8)
    make_worker("b", threads=4)
    assert selectors.lane_threads("cpu") == 4


def test_an_import_needs_no_backend():
    make_worker()
    assert selectors.what_cannot_run(ImportSpec(source=FILE, name="x"), "cpu") is None
