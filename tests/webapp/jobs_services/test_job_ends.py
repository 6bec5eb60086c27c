"""Attempts end once, told by the attempt that owns the job; what waited is released, or told why not."""

from __future__ import annotations

import pytest

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.specs import ImportSpec, TrainSpec
from tests.webapp.jobs_services.helpers import MODEL, claim, heavy, import_result, light, moves, running, stored, succeed
from webapp.artifacts.models import Artifact
from webapp.jobs import services
from webapp.jobs.models import Job, JobAttempt, JobEvent, JobLog
from webapp.jobs.services import NotOwner, job_cancel, job_create, job_retry
from webapp.jobs.states import FINAL, MOVES, State

pytestmark = pytest.mark.django_db


def dependent(*needed: Job) -> Job:
    """Queue a job that needs others: the first for its data, the second for its weights."""
    needs = {field: (job, "dataset") for field, job in zip(("dataset", "weights"), needed, strict=False)}
    return job_create(spec=TrainSpec(model=MODEL, dataset=InputFile()), needs=needs)


def test_a_success_keeps_result_outputs_and_the_end_of_the_attempt():
    job = succeed(running())
    assert (job.state, job.result["kind"], job.worker, job.progress["fraction"]) == ("succeeded", "import", "", 1.0)
    output = job.outputs.get()
    assert (output.role, output.name) == ("dataset", "fields.tar")
    assert JobAttempt.objects.get(job=job).outcome == "succeeded"
    assert moves(job) == [("", "queued"), ("queued", "running"), ("running", "succeeded")]


WRITES = {
    "succeed": lambda job, attempt: services.job_succeed(job=job, attempt=attempt, result=import_result()[0], outputs={}),
    "fail": lambda job, attempt: services.job_fail(job=job, attempt=attempt, kind="user", message="x"),
    "requeue": lambda job, attempt: services.job_requeue(job=job, attempt=attempt, reason="x"),
    "lost": lambda job, attempt: services.job_lost(job=job, attempt=attempt, reason="x"),
    "cancelled": lambda job, attempt: services.job_cancelled(job=job, attempt=attempt, proof={"processes_gone": True}),
    "progress": lambda job, attempt: services.job_progress(job_id=job.pk, attempt=attempt, progress={"fraction": 0.5}),
    "event": lambda job, attempt: services.job_event_add(job_id=job.pk, attempt=attempt, type="warning", data={}),
    "log": lambda job, attempt: services.job_log_append(job_id=job.pk, attempt=attempt, offset=0, text="x"),
    "state": lambda job, attempt: services.job_state_saved(job_id=job.pk, attempt=attempt, artifact=stored()),
}


@pytest.mark.parametrize("name", WRITES)
def test_an_attempt_that_lost_its_job_can_write_nothing(name):
    job = running()
    services.job_lost(job=job, attempt=1, reason="its worker is gone")
    for owner in ("nobody", "the second attempt"):
        if owner != "nobody":
            assert claim().attempt == 2
        before = Job.objects.values().get(pk=job.pk)
        with pytest.raises(NotOwner):
            WRITES[name](job, 1)
        assert Job.objects.values().get(pk=job.pk) == before
    assert not JobLog.objects.exists() and not job.outputs.exists()


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_written_to_a_job_that_has_ended(name, state):
    job = running()
    Job.objects.filter(pk=job.pk).update(state=state)
    with pytest.raises(NotOwner):
        WRITES[name](job, 1)


def test_every_move_that_services_make_stands_in_the_table():
    for job in (succeed(running()), services.job_fail(job=running(), attempt=1, kind="user", message="x")):
        assert job.state in FINAL
    lost = running()
    services.job_lost(job=lost, attempt=1, reason="x")
    job_cancel(job=claim(), user=None)
    for event in JobEvent.objects.filter(type="move").exclude(data__from=None):
        assert State(event.data["to"]) in MOVES[State(event.data["from"])]


def test_event_numbers_have_no_gaps():
    job = running()
    for number in range(3):
        services.job_event_add(job_id=job.pk, attempt=1, type="metric", data={"values": {"loss": number}})
    succeed(job)
    assert list(JobEvent.objects.filter(job=job).order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_a_lost_job_is_queued_again_and_fails_after_the_last_try(settings):
    settings.MAX_ATTEMPTS = 2
    job = services.job_lost(job=running(), attempt=1, reason="its worker is gone; look")
    assert (job.state, job.lost_attempts, job.worker) == ("queued", 1, "")
    job = services.job_lost(job=claim(), attempt=2, reason="its worker is gone; look")
    assert (job.state, job.failure_kind, job.lost_attempts) == ("failed", "system", 2)
    assert job.failure_message == "Its worker is gone; look (2 times in all)"


def test_a_job_given_back_loses_no_try_and_one_being_cancelled_is_cancelled():
    job = services.job_requeue(job=running(), attempt=1, reason="its worker was stopped")
    assert (job.state, job.lost_attempts) == ("queued", 0)
    job = claim()
    job_cancel(job=job, user=None)
    assert services.job_requeue(job=job, attempt=2, reason="its worker was stopped").state == "cancelled"


def test_log_and_messages_with_characters_that_the_database_cannot_store_are_kept_readable():
    job = running()
    services.job_log_append(job_id=job.pk, attempt=1, offset=0, text="a\x00b")
    services.job_event_add(job_id=job.pk, attempt=1, type="warning", data={"message": "a\x00b"})
    services.job_fail(job=job, attempt=1, kind="system", message="a\x00b", log_tail="a\x00b")
    assert JobLog.objects.get().text == "a\ufffdb" and Job.objects.get().log_tail == "a\ufffdb"


def test_a_newer_state_replaces_the_older_unless_another_job_refers_to_it():
    job = running("heavy")
    first, second, third = (stored(text, kind="training_state") for text in ("one", "two", "three"))
    services.job_state_saved(job_id=job.pk, attempt=1, artifact=first)
    services.job_state_saved(job_id=job.pk, attempt=1, artifact=second)
    assert not Artifact.objects.filter(pk=first.pk).exists()
    spec = TrainSpec(model=MODEL, dataset=InputFile(sha256=stored().sha256), resume=InputFile(sha256=second.sha256))
    job_create(spec=spec)
    services.job_state_saved(job_id=job.pk, attempt=1, artifact=third)
    assert Artifact.objects.filter(pk=second.pk).exists()
    assert Job.objects.get(pk=job.pk).resume_sha256 == third.sha256


def test_a_waiting_job_gets_its_input_and_is_queued_when_all_it_needs_is_done():
    first, second = light(), light(priority=-1)
    waiting = dependent(first, second)
    done = succeed(claim(), "data one")
    waiting.refresh_from_db()
    assert (done.pk, waiting.state) == (first.pk, "waiting")
    succeed(claim(), "data two")
    waiting.refresh_from_db()
    assert waiting.state == "queued"
    assert waiting.spec["dataset"]["sha256"] == first.outputs.get().artifact_id
    assert waiting.spec["dataset"]["name"] == "fields.tar"
    assert waiting.spec["weights"]["sha256"] == second.outputs.get().artifact_id


def test_a_need_that_the_other_job_does_not_make_is_a_failure_that_says_so():
    first = light()
    waiting = job_create(spec=TrainSpec(model=MODEL, dataset=InputFile()), needs={"dataset": (first, "exported_model")})
    succeed(claim())
    waiting.refresh_from_db()
    assert waiting.state == "failed" and "made no 'exported_model'" in waiting.failure_message


def test_when_a_needed_job_fails_all_that_waits_is_cancelled_and_a_retry_puts_it_back():
    data = light()
    training = dependent(data)
    later = job_create(spec=ImportSpec(source=InputFile(), name="x"), needs={"source": (training, "checkpoint_best")})
    services.job_fail(job=claim(), attempt=1, kind="user", message="no")
    for job in (training, later):
        job.refresh_from_db()
        assert job.state == "cancelled" and "the job it waited for" in job.failure_message
    assert "failed; retry that job" in training.failure_message
    with pytest.raises(InvalidInput, match="has failed; retry that one"):
        job_retry(job=training, user=None)

    job_retry(job=data, user=None)
    for job in (training, later):
        job.refresh_from_db()
        assert (job.state, job.failure_message) == ("waiting", "")
    succeed(claim())
    training.refresh_from_db()
    assert training.state == "queued"


def test_a_retry_does_not_put_back_what_a_person_cancelled():
    data = light()
    training = dependent(data)
    job_cancel(job=training, user=None)
    services.job_fail(job=claim(), attempt=1, kind="user", message="no")
    job_retry(job=data, user=None)
    training.refresh_from_db()
    assert training.state == "cancelled"


def test_jobs_that_have_not_started_are_cancelled_at_once(alice):
    first = light()
    waiting = dependent(first)
    job_cancel(job=waiting, user=alice)
    job_cancel(job=first, user=alice)
    assert {job.state for job in Job.objects.all()} == {"cancelled"}
    assert JobEvent.objects.get(job=first, seq=2).data["by"] == "alice"
    assert claim() is None


def test_a_running_job_is_cancelled_in_two_moves_and_keeps_the_proof():
    job = running()
    assert job_cancel(job=job, user=None).state == "cancelling"
    assert job_cancel(job=job, user=None).state == "cancelling"
    proof = {"processes": 3, "processes_gone": True, "seconds": 0.4, "signal": "SIGTERM"}
    services.job_cancelled(job=job, attempt=1, proof=proof)
    assert moves(job)[-2:] == [("running", "cancelling"), ("cancelling", "cancelled")]
    assert JobAttempt.objects.get(job=job).cancel_proof == proof
    assert JobEvent.objects.filter(job=job).last().data["why"] == "3 processes gone after 0.4 s"


def test_a_job_that_has_ended_cannot_be_cancelled_and_one_that_runs_cannot_be_retried():
    job = running()
    with pytest.raises(InvalidInput, match="only a failed or cancelled job"):
        job_retry(job=job, user=None)
    succeed(job)
    with pytest.raises(InvalidInput, match="has already succeeded"):
        job_cancel(job=job, user=None)


def test_a_retried_job_starts_fresh_but_keeps_its_saved_state():
    job = running("heavy")
    services.job_state_saved(job_id=job.pk, attempt=1, artifact=stored("state", kind="training_state"))
    services.job_fail(job=job, attempt=1, kind="resource", message="no memory", log_tail="x")
    job = job_retry(job=job, user=None)
    assert (job.state, job.failure_kind, job.failure_message, job.log_tail, job.lost_attempts) == ("queued", "", "", "", 0)
    assert job.resume_sha256 == stored("state").sha256
    assert claim("heavy").attempt == 2


def test_the_state_of_a_training_goes_when_it_has_succeeded(django_capture_on_commit_callbacks):
    job = running("heavy")
    state = stored("state", kind="training_state")
    services.job_state_saved(job_id=job.pk, attempt=1, artifact=state)
    with django_capture_on_commit_callbacks(execute=True):
        succeed(job)
    assert not Artifact.objects.filter(pk=state.pk).exists()
    assert Job.objects.get().resume_sha256 == ""


def test_the_same_piece_of_log_twice_is_there_once():
    job = running()
    for _ in range(2):
        services.job_log_append(job_id=job.pk, attempt=1, offset=0, text="once")
    assert JobLog.objects.get().text == "once"
    assert heavy().state == "queued"
