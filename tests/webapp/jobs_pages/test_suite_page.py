"""A suite: a matrix of models and steps that follows the work and ends in the frontier."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.page_factories import make_suite
from webapp.jobs.models import Job
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db


def _page(client, suite, **headers):
    return client.get(reverse("suite-detail", args=[suite.uuid]), headers=headers)


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_each_model_has_a_row_and_each_step_a_column(client):
    page = _page(client, make_suite(models=("fcos_resnet10_fpn", "ssd_resnet10")))
    matrix = page.context["matrix"]
    assert [model for model, _ in matrix.rows] == ["fcos_resnet10_fpn", "ssd_resnet10"]
    assert matrix.titles == [
        ("Train", ""),
        ("Export", ""),
        ("Evaluate", "PyTorch eager"),
        ("Evaluate", "ONNX Runtime"),
        ("Time", "PyTorch eager"),
        ("Time", "ONNX Runtime"),
    ]
    assert all(cell is not None for _, cells in matrix.rows for cell in cells)
    assert "0 of 12 jobs done, 2 queued, 10 waiting, about" in _text(page)


def test_while_jobs_are_left_the_page_polls_and_the_frontier_is_not_offered(client):
    page = _page(client, make_suite()).content.decode()
    assert 'hx-trigger="every 3s"' in page
    assert "See the frontier of this pipeline" not in page


def test_when_every_job_has_ended_polling_stops_and_the_frontier_is_one_click_away(client):
    suite = make_suite()
    suite.jobs.update(state=State.SUCCEEDED)
    page = _page(client, suite).content.decode()
    assert "hx-get" not in page
    assert f"/?suite={suite.uuid}" in page


def test_the_poll_that_finds_the_end_comes_without_further_polling(client):
    suite = make_suite()
    suite.jobs.update(state=State.SUCCEEDED)
    answer = _page(client, suite, **{"HX-Request": "true"})
    assert answer.status_code == 200
    assert "hx-get" not in answer.content.decode()


def test_what_failed_is_told_with_its_sentence(client):
    suite = make_suite()
    Job.objects.filter(pk=suite.jobs.first().pk).update(state=State.FAILED, failure_message="the disk is full; free some")
    assert "the disk is full; free some" in _text(_page(client, suite))


def test_cancelling_what_is_left_leaves_ended_jobs_alone(alice_client):
    suite = make_suite()
    done = suite.jobs.first()
    Job.objects.filter(pk=done.pk).update(state=State.SUCCEEDED)
    alice_client.post(reverse("suite-cancel", args=[suite.uuid]))
    states = set(suite.jobs.exclude(pk=done.pk).values_list("state", flat=True))
    assert states == {State.CANCELLED}
    done.refresh_from_db()
    assert done.state == State.SUCCEEDED


def test_the_number_of_queries_does_not_grow_with_the_models(client, django_assert_max_num_queries):
    def queries(models):
        suite = make_suite(models=models)
        with django_assert_max_num_queries(40) as found:
            _page(client, suite)
        return len(found)

    # The estimate asks once for each kind of job and model that has no time limit of its own; trainings have one.
    assert queries(("fcos_resnet10_fpn",)) == queries(("fcos_resnet18_fpn", "ssd_resnet10", "ssd_resnet18", "retinanet_resnet10_fpn"))
