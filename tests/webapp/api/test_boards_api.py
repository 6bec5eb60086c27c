"""Results, fronts and checkpoints over the API; the number of queries does not grow with the rows."""

from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_environment, make_result, make_results

pytestmark = pytest.mark.django_db


def test_results_are_filtered_and_sorted(client):
    make_result("fcos_resnet10_fpn", ap=0.4, p50_ms=10)
    make_result("ssd_resnet10", ap=0.3, p50_ms=5)
    rows = client.get("/api/v1/results?sort=p50_ms").json()["items"]
    assert [row["model"] for row in rows] == ["ssd_resnet10", "fcos_resnet10_fpn"]
    assert client.get("/api/v1/results?family=ssd").json()["total"] == 1
    assert client.get("/api/v1/results?family=nothing").json()["total"] == 0


def test_results_come_as_csv_and_markdown(client):
    make_result(ap=0.4, p50_ms=10)
    rows = list(csv.DictReader(io.StringIO(client.get("/api/v1/results?format=csv").content.decode())))
    assert float(rows[0]["ap"]) == 0.4
    assert client.get("/api/v1/results?format=md").content.decode().startswith("| uuid | model |")
    assert client.get("/api/v1/results?format=xml").status_code == 422


def test_a_row_carries_its_interval_and_small_object_recall(client):
    row = make_result(ap=0.4)
    row.ap_low, row.ap_high, row.small_recall = 0.38, 0.42, 0.25
    row.save()
    found = client.get("/api/v1/results").json()["items"][0]
    assert (found["ap_low"], found["ap_high"], found["small_recall"]) == (0.38, 0.42, 0.25)


def test_a_result_that_the_evaluators_disagree_on_is_listed_and_drawn_only_on_request(client):
    make_result(ap=0.4, p50_ms=10, flags=("evaluators_disagree",))
    assert client.get("/api/v1/results").json()["total"] == 0
    assert client.get("/api/v1/frontier").json() == []
    assert client.get("/api/v1/results?show=all").json()["total"] == 1


def test_incomplete_results_and_those_of_the_selection_split_are_listed_only_on_request(client):
    make_result(ap=0.4, p50_ms=None)
    make_result(ap=0.4, p50_ms=10, split="val")
    assert client.get("/api/v1/results").json()["total"] == 0
    assert client.get("/api/v1/results?show=all").json()["total"] == 2


def test_each_machine_has_a_front_of_its_own(client):
    make_result(ap=0.4, p50_ms=10)
    make_result(ap=0.3, p50_ms=20, environment=make_environment("another cpu"))
    groups = client.get("/api/v1/frontier").json()
    assert len(groups) == 2
    assert all(point["on_front"] for group in groups for point in group["points"])


@pytest.mark.parametrize("path", ["results", "frontier"])
def test_the_number_of_queries_does_not_grow_with_the_rows(client, path):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert client.get(f"/api/v1/{path}").status_code == 200
        return len(seen)

    make_results(3)
    few = queries()
    make_results(40, seed=1)
    assert queries() == few


def test_a_result_is_shown_whole_with_its_raw_files(client):
    row = make_result()
    shown = client.get(f"/api/v1/results/{row.uuid}").json()
    assert shown["evaluation"]["audit"]["engine"].startswith("pycocotools")
    assert shown["latency"]["latency_ms"]["p50"] == row.p50_ms
    assert shown["samples_sha256"] and shown["detections_sha256"] and shown["artifact"]["sha256"]
