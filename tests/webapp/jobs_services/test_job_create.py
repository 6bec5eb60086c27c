"""Jobs come into being checked, once, and with a wake-up."""

from __future__ import annotations

import pytest
from celery import Celery

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import EvaluateSpec, ImportSpec, TrainSpec
from tests.webapp.jobs_services.helpers import IMPORT, MODEL, benchmark, claim, file, heavy, light, moves, succeed
from webapp.jobs import queue
from webapp.jobs.models import Job, Suite
from webapp.jobs.services import PlannedJob, job_create, suite_create

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, str]]:
    """The wake-ups that were sent, queue and job."""
    messages: list[tuple[str, str]] = []

    class Now:
        def submit(self, send, batch):
            messages.extend(batch)

    monkeypatch.setattr(queue, "_sender", Now())
    return messages


def test_a_new_job_is_queued_and_wakes_its_lane_up_once_the_transaction_commits(sent, django_capture_on_commit_callbacks, alice):
    with django_capture_on_commit_callbacks(execute=True):
        job = light(lane="cuda", user=alice, title="my data")
        assert not sent
    assert sent == [("cuda.light", str(job.uuid))]
    assert (job.state, job.slot, job.event_seq, job.title) == ("queued", "light", 1, "my data")
    assert moves(job) == [("", "queued")] and job.queued_at is not None


def test_a_job_is_created_although_the_queue_server_is_away(monkeypatch, caplog):
    away = Celery(broker="redis://127.0.0.1:9/0")
    away.conf.update(task_ignore_result=True)

    def refuse(*args, **kwargs):
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(away, "send_task", refuse)
    monkeypatch.setattr(queue, "app", away)
    job = light()
    queue.send([("cpu.light", str(job.uuid))])
    assert "no wake-up for job" in caplog.text and Job.objects.get().state == "queued"


def test_a_job_that_is_rolled_back_sends_no_wake_up(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(InvalidInput):
        suite_create(name="s", user=None, jobs=[PlannedJob("a", IMPORT), PlannedJob("a", IMPORT)])
    assert not sent and not Job.objects.exists() and not Suite.objects.exists()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrainSpec(model="yolo99", dataset=file()), "'yolo99' is not in the catalogue"),
        (lambda: TrainSpec(model=MODEL, dataset=InputFile(sha256="0" * 64)), "field 'dataset': no stored file has the sha256 000"),
        (lambda: TrainSpec(model=MODEL, dataset=InputFile()), "field 'dataset' names no stored file"),
        (lambda: TrainSpec(model=MODEL, dataset=InputFile(ref="/etc")), "field 'dataset' names no stored file"),
        (lambda: TrainSpec(model=MODEL, dataset=InputFile(url="http://10.0.0.1/a")), "field 'dataset' names no stored file"),
        (lambda: ImportSpec(source=InputFile(ref="/etc/passwd"), name="x"), "'/etc/passwd' is no built-in data set"),
    ],
)
def test_a_spec_that_cannot_run_is_refused_with_the_field_and_the_remedy(make, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        job_create(spec=make())
    assert not Job.objects.exists()


def test_a_lane_that_no_queue_can_have_is_refused():
    with pytest.raises(InvalidInput, match="lane 'a b' is not a name"):
        light(lane="a b")


def test_the_address_in_a_downloaded_spec_is_not_kept_as_the_bytes_are_stored():
    spec = EvaluateSpec(artifact=file().model_copy(update={"url": "http://elsewhere/x"}), backend="eager", dataset=file())
    assert job_create(spec=spec).spec["artifact"]["url"] is None


def test_the_same_key_gives_the_same_job_and_another_spec_under_it_is_refused(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        first, second = light(idempotency_key="k"), light(idempotency_key="k")
    assert first.pk == second.pk and len(sent) == 1
    with pytest.raises(InvalidInput, match="Idempotency-Key 'k' was used for another job"):
        heavy(idempotency_key="k")


def test_the_same_key_gives_the_same_suite():
    plan = [PlannedJob("data", IMPORT)]
    first = suite_create(name="s", user=None, jobs=plan, idempotency_key="k")
    assert suite_create(name="s", user=None, jobs=plan, idempotency_key="k").pk == first.pk
    assert Job.objects.count() == 1
    other = [PlannedJob("data", IMPORT.model_copy(update={"name": "other"}))]
    with pytest.raises(InvalidInput, match="used for another suite"):
        suite_create(name="s", user=None, jobs=other, idempotency_key="k")


def test_the_same_key_gives_the_same_suite_after_its_first_job_has_filled_the_second():
    train = TrainSpec(model=MODEL, dataset=InputFile(name="fields.tar"))
    plan = [PlannedJob("data", IMPORT), PlannedJob("train", train, needs={"dataset": ("data", "dataset")})]
    first = suite_create(name="s", user=None, jobs=plan, idempotency_key="k")
    succeed(claim())
    assert suite_create(name="s", user=None, jobs=plan, idempotency_key="k").pk == first.pk


def test_a_suite_gives_each_job_its_place_and_what_it_waits_for():
    train = TrainSpec(model=MODEL, dataset=InputFile(name="fields.tar"))
    suite = suite_create(
        name="s", user=None, jobs=[PlannedJob("data", IMPORT), PlannedJob("train", train, needs={"dataset": ("data", "dataset")})]
    )
    data, training = suite.jobs.order_by("id")
    assert (data.state, training.state) == ("queued", "waiting")
    assert training.spec["dataset"]["from_job"] == str(data.uuid) and training.spec["dataset"]["sha256"] is None


def test_a_suite_whose_job_needs_a_later_one_is_refused():
    train = TrainSpec(model=MODEL, dataset=InputFile())
    plan = [PlannedJob("train", train, needs={"dataset": ("data", "dataset")}), PlannedJob("data", IMPORT)]
    with pytest.raises(InvalidInput, match="needs 'data', which does not stand before it"):
        suite_create(name="s", user=None, jobs=plan)


def test_a_training_may_run_as_long_as_its_minutes_say():
    recipe = Recipe(max_minutes=60 * 48)
    job = job_create(spec=TrainSpec(model=MODEL, dataset=file(), recipe=recipe))
    assert job.time_limit_s == 49 * 3600
    assert benchmark().time_limit_s == 6 * 3600
