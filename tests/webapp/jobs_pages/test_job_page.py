"""The page of one job: state first, then what to do about it, then the record."""

from __future__ import annotations

import json
import re

import pytest
from django.urls import reverse
from django.utils import timezone

from detection_core.schemas.specs import parse_spec
from tests.factories import make_artifact, make_dataset_version, make_job, make_result, make_worker
from tests.page_factories import make_event, make_running_job, make_suite
from webapp.jobs.models import JobAttempt, JobLog, JobOutput
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _page(client, job):
    return client.get(reverse("job-detail", args=[job.uuid]))


def _act(client, name, job):
    return client.post(reverse(name, args=[job.uuid]), follow=True)


def test_a_running_job_shows_progress_time_left_curves_and_log_without_a_script(client):
    page = _page(client, make_running_job())
    text = _text(page)
    assert "epoch 4 of 12, 41 images/s, about 3 min left" in text
    assert "epoch 3 of 12 done" in text
    assert "claimed by cpu-lab-1" in text
    points = json.loads(re.search(r'<script id="points" type="application/json">(.*?)</script>', page.content.decode()).group(1))
    assert [point["data"]["values"]["ap"] for point in points if "ap" in point["data"]["values"]] == pytest.approx([0.09, 0.18, 0.27, 0.36])


def test_a_training_shows_who_brings_its_loss_level_by_level(client):
    text = _text(_page(client, make_running_job()))
    assert "background was 99.50 % of all places and brought 24.0 % of the classification loss" in text
    assert "0 480 95 520 57.0 % 18.0 %" in text
    assert "1 120 23 880 19.0 % 6.0 %" in text


def test_the_table_of_points_leaves_the_levels_to_theirs(client):
    page = _page(client, make_running_job()).content.decode()
    table = re.search(r'id="points-table">(.*?)</table>', page, re.DOTALL).group(1)
    assert "loss_box" in table
    assert "waiting_share" in table
    assert "positives_0" not in table


def test_a_training_that_tells_nothing_of_its_levels_has_no_such_section(client):
    job = make_job("train", state=State.RUNNING, attempt=1)
    make_event(job, "metric", step=1, epoch=1.0, values={"loss": 2.0})
    assert "Objects against background" not in _text(_page(client, job))


def test_a_failure_shows_its_sentence_first_then_the_remedy_then_the_last_twenty_lines(alice_client):
    tail = "\n".join(f"line {number}" for number in range(1, 31))
    job = make_job(
        "train", state=State.FAILED, failure_kind="resource", failure_message="it ran out of memory; choose less", log_tail=tail, attempt=1
    )
    text = _text(_page(alice_client, job))
    assert (
        text.index("it ran out of memory") < text.index("The machine ran out of something") < text.index("line 11") < text.index("line 30")
    )
    assert "line 10 " not in text
    assert "Retry" in text


def test_a_waiting_job_says_why_and_how_long(client):
    suite = make_suite()
    make_worker(lanes=["cpu"])
    export = suite.jobs.filter(kind="export").first()
    make_job("export", state=State.SUCCEEDED, started_at=timezone.now() - timezone.timedelta(seconds=40), finished_at=timezone.now())
    text = _text(_page(client, export))
    assert "It waits for train fcos_resnet10_fpn · bccd v1 (queued)." in text
    assert "likely to take about 40 s" in text


def test_a_cancelled_job_shows_how_its_end_was_proved(client):
    job = make_job("train", state=State.CANCELLED, attempt=1)
    proof = {"processes_gone": True, "processes": 3, "seconds": 0.74}
    JobAttempt.objects.create(job=job, number=1, worker="lab-1", started_at=job.created_at, outcome="cancelled", cancel_proof=proof)
    assert "3 processes gone after 0.7 s." in _text(_page(client, job))


def test_every_attempt_is_listed_with_its_reason_and_its_log(client):
    job = make_running_job(attempt=2)
    JobAttempt.objects.filter(job=job).update(outcome="lost", reason="its worker stopped reporting itself", ended_at=timezone.now())
    JobAttempt.objects.create(job=job, number=2, worker="cpu-lab-2", started_at=timezone.now())
    page = _page(client, job)
    assert "lost: its worker stopped reporting itself" in _text(page)
    assert f"/jobs/{job.uuid}/log?attempt=1" in page.content.decode()


def test_outputs_show_size_hash_and_a_download(client):
    job = make_job("train", state=State.SUCCEEDED)
    artifact = make_artifact("checkpoint_best", "best.safetensors")
    JobOutput.objects.create(job=job, role="checkpoint_best", name="best.safetensors", artifact=artifact)
    page = _page(client, job)
    assert artifact.sha256 in _text(page)
    assert "21.5 MB" in _text(page)
    assert f"/artifacts/{artifact.sha256}/best.safetensors" in page.content.decode()


def test_a_measurement_links_to_its_result(client):
    result = make_result()
    for job in (result.latency.job, result.evaluation.job):
        assert reverse("result-detail", args=[result.uuid]) in _page(client, job).content.decode()


def test_only_people_who_are_logged_in_see_the_buttons_and_may_press_them(client):
    job = make_running_job()
    page = _page(client, job)
    assert "Log in to cancel" in _text(page)
    assert reverse("job-cancel", args=[job.uuid]) not in page.content.decode()
    answer = client.post(reverse("job-cancel", args=[job.uuid]))
    assert answer.status_code == 302
    assert answer.url.startswith("/login")
    job.refresh_from_db()
    assert job.state == State.RUNNING


def test_acting_needs_a_post(alice_client):
    job = make_running_job()
    for name in ("job-cancel", "job-retry"):
        assert alice_client.get(reverse(name, args=[job.uuid])).status_code == 405


def test_cancelling_a_running_job_says_what_happens_now(alice_client):
    job = make_running_job()
    page = _act(alice_client, "job-cancel", job)
    assert "Its processes are being ended." in _text(page)
    job.refresh_from_db()
    assert job.state == State.CANCELLING


def test_retrying_a_failed_job_queues_it_again(alice_client):
    job = make_job("train", state=State.FAILED, failure_message="lost", spec={"model": "ssd_resnet10"})
    _act(alice_client, "job-retry", job)
    job.refresh_from_db()
    assert job.state == State.QUEUED


def test_what_cannot_be_done_is_told_in_a_sentence(alice_client):
    page = _act(alice_client, "job-retry", make_running_job())
    assert "only a failed or cancelled job can be retried." in _text(page)


def test_the_spec_is_a_file_that_the_library_takes_with_addresses_for_its_inputs(client, settings):
    settings.SITE_URL = "https://lab.example"
    job = make_suite().jobs.filter(kind="train").first()
    answer = client.get(reverse("job-spec", args=[job.uuid]))
    assert f'filename="train-{str(job.uuid)[:8]}.json"' in answer["Content-Disposition"]
    spec = parse_spec(answer.json())
    version = make_dataset_version()
    assert spec.dataset.sha256 == version.artifact_id
    assert spec.dataset.url.startswith(f"https://lab.example/artifacts/{version.artifact_id}/")


def test_the_whole_log_is_a_download_and_a_piece_of_it_continues_at_a_byte(client):
    job = make_running_job()
    JobLog.objects.create(job=job, attempt=1, offset=80, text="größer\n")
    whole = client.get(reverse("job-log", args=[job.uuid]))
    assert "attachment" in whole["Content-Disposition"]
    assert whole.content.decode().endswith("epoch 4 of 12 done\ngrößer\n")
    piece = client.get(reverse("job-log", args=[job.uuid]), {"attempt": 1, "offset": 76})
    assert piece.content.decode() == whole.content[76:].decode()
    assert "Content-Disposition" not in piece


def test_the_live_script_gets_the_panel_alone(client):
    page = client.get(reverse("job-detail", args=[make_running_job().uuid]), {"panel": "1"})
    assert "epoch 4 of 12" in _text(page)
    assert "<html" not in page.content.decode()


def test_a_job_that_does_not_exist_is_not_found(client):
    for name in ("job-detail", "job-spec", "job-log", "suite-detail"):
        assert client.get(reverse(name, args=["6a0e4b62-4b53-4a43-8d7d-2f2f6f6d0c11"])).status_code == 404


def test_the_page_takes_the_same_number_of_queries_however_long_the_story_is(client, django_assert_max_num_queries):
    def queries(job):
        with django_assert_max_num_queries(30) as found:
            assert _page(client, job).status_code == 200
        return len(found)

    short, long = make_running_job(), make_running_job()
    for number in range(2, 30):
        JobAttempt.objects.create(job=long, number=number, worker="lab", started_at=timezone.now())
        artifact = make_artifact("detections", f"{number}.json.gz")
        JobOutput.objects.create(job=long, role=f"role {number}", name=artifact.name, artifact=artifact)
    JobOutput.objects.create(job=short, role="detections", name="a", artifact=make_artifact("detections", "a"))
    assert queries(long) == queries(short)


def test_text_from_a_job_is_shown_as_text_and_never_run(client):
    title, message = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>"
    page = _page(client, make_job("train", state=State.FAILED, title=title, failure_message=message, attempt=1)).content.decode()
    assert title not in page
    assert message not in page
    assert "&lt;img src=x" in page
