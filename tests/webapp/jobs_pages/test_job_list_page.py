"""The list of jobs: what it tells of each, its filters, how it polls."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.factories import make_job, make_worker
from tests.page_factories import make_running_job, make_suite
from webapp.jobs.models import JobAttempt, JobDependency
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _poll(client, page):
    address = re.search(r'hx-get="([^"]+)"', page.content.decode()).group(1).replace("&amp;", "&")
    return client.get(address, headers={"HX-Request": "true"})


def test_with_no_job_the_page_says_what_will_stand_there_and_offers_the_one_action(client):
    page = client.get("/jobs")
    assert "No job yet" in _text(page)
    assert page.content.decode().count('class="button button-primary" href="/jobs/new">Queue the first pipeline') == 1


def test_a_running_job_shows_what_it_is_doing_and_how_long_it_will_take(client):
    make_running_job()
    page = client.get("/jobs")
    assert "epoch 4 of 12, 41 images/s, about 3 min left" in _text(page)
    assert 'value="31.0"' in page.content.decode()
    assert "FCOS ResNet-10 · bccd v1" in _text(page)


def test_queued_jobs_tell_their_place_and_the_lane_nobody_serves(client):
    make_worker(lanes=["cpu"])
    for title, fields in {"early": {}, "late": {}, "urgent": {"priority": 5}, "elsewhere": {"lane": "cuda"}}.items():
        make_job("train", state=State.QUEUED, title=title, **fields)
    words = {row.title: row.words for row in client.get("/jobs").context["rows"]}
    assert words == {
        "urgent": "next on lane cpu",
        "early": "behind 1 job of lane cpu",
        "late": "behind 2 jobs of lane cpu",
        "elsewhere": "no living worker serves lane cuda",
    }


def test_a_waiting_job_names_the_job_it_waits_for(client):
    train = make_job("train", state=State.QUEUED, title="fcos_resnet10_fpn · bccd v1")
    export = make_job("export", state=State.WAITING, title="fcos_resnet10_fpn · bccd v1")
    JobDependency.objects.create(job=export, needs=train, field="checkpoint", role="checkpoint_best")
    assert "waits for the training of FCOS ResNet-10 · bccd v1" in _text(client.get("/jobs"))


def test_a_failed_job_shows_its_sentence_and_an_ended_job_its_last_worker(client):
    job = make_job("train", state=State.FAILED, failure_message="image 'a.jpg' cannot be decoded; replace the file")
    JobAttempt.objects.create(job=job, number=1, worker="lab-7", started_at=job.created_at)
    text = _text(client.get("/jobs"))
    assert "image &#x27;a.jpg&#x27; cannot be decoded; replace the file" in text
    assert "lab-7" in text


def test_filters_stand_in_the_address_and_combine(client):
    make_job("train", state=State.SUCCEEDED, title="one")
    make_job("export", state=State.SUCCEEDED, title="two")
    make_job("train", state=State.FAILED, title="three")
    page = client.get("/jobs", {"state": "succeeded", "kind": "train"})
    assert [row.title for row in page.context["rows"]] == ["one"]
    assert "Clear filters" in _text(page)
    assert [row.title for row in client.get("/jobs", {"search": "thr"}).context["rows"]] == ["three"]


@pytest.mark.parametrize(
    "query", [{"state": "asleep"}, {"kind": "bake"}, {"suite": "not-a-uuid"}, {"page": "x"}, {"page": "99999999999999"}]
)
def test_a_filter_that_cannot_be_used_is_left_out(client, query):
    make_job("train", title="one")
    assert [row.title for row in client.get("/jobs", query).context["rows"]] == ["one"]


def test_filters_that_fit_no_job_say_so(client):
    make_job("train", state=State.SUCCEEDED)
    assert "No job fits these filters" in _text(client.get("/jobs", {"state": "failed"}))


def test_pages_hold_fifty_jobs_and_keep_the_filters(client):
    for number in range(60):
        make_job("train", title=f"job {number}")
    first = client.get("/jobs", {"kind": "train"})
    assert len(first.context["rows"]) == 50
    assert "kind=train&amp;page=2" in first.content.decode()
    assert len(client.get("/jobs", {"kind": "train", "page": 2}).context["rows"]) == 10


def test_a_poll_is_answered_with_nothing_until_something_changes(client):
    job = make_running_job()
    page = client.get("/jobs", {"state": "running"})
    assert _poll(client, page).status_code == 204
    job.progress = {"fraction": 0.5, "message": "epoch 6 of 12", "eta_s": 120}
    job.save()
    changed = _poll(client, page)
    assert changed.status_code == 200
    assert "epoch 6 of 12" in _text(changed)
    assert "<html" not in changed.content.decode()
    assert _poll(client, changed).status_code == 204


def test_the_number_of_queries_does_not_grow_with_the_rows(client, django_assert_max_num_queries):
    def fill(count):
        for number in range(count):
            make_running_job(title=f"running {number}")
            make_job("train", state=State.QUEUED, title="queued")
            needed = make_job("train", state=State.SUCCEEDED, title="done")
            waiting = make_job("export", state=State.WAITING)
            JobDependency.objects.create(job=waiting, needs=needed, field="checkpoint", role="checkpoint_best")

    def queries():
        with django_assert_max_num_queries(30) as found:
            assert client.get("/jobs").status_code == 200
        return len(found)

    fill(1)
    with_four = queries()
    fill(11)
    assert queries() == with_four


def test_a_suite_is_linked_from_its_jobs(client):
    suite = make_suite()
    page = client.get("/jobs", {"suite": str(suite.uuid)})
    assert page.context["page"].total == 12
    assert reverse("suite-detail", args=[suite.uuid]) in page.content.decode()
