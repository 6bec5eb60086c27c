"""The leaderboard asks the database the same number of questions whatever stands on it."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.factories import make_result
from webapp.results.models import Result

pytestmark = pytest.mark.django_db


def test_ten_thousand_results_take_as_many_queries_as_ten(client: Client):
    fill(10)
    queries(client)  # the first request of a process also sets its connection up
    few = queries(client)
    fill(10_000)
    assert queries(client) == few


def fill(count: int) -> None:
    """Bring the number of results to `count`; all are copies of one that share its evaluation."""
    row = Result.objects.first() or make_result()
    copies = []
    for place in range(count - Result.objects.count()):
        fields = {field.attname: getattr(row, field.attname) for field in Result._meta.concrete_fields if field.name != "id"}
        copies.append(Result(**{**fields, "uuid": uuid.uuid4(), "latency_id": None, "ap": place / 20_000, "p50_ms": 1 + place % 89}))
    Result.objects.bulk_create(copies)
    assert Result.objects.count() == count


def queries(client: Client) -> int:
    with CaptureQueriesContext(connection) as seen:
        answer = client.get("/leaderboard?sort=-ap")
    assert answer.status_code == 200
    return len(seen)
