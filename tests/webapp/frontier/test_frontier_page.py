"""The first page: one group at a time, and its front is the stored one."""

from __future__ import annotations

import json
import re

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_dataset_version, make_environment, make_result, make_results
from webapp.frontier import selectors


def _figure(answer) -> dict:
    found = re.search(r'<script id="frontier-figure" type="application/json">(.*?)</script>', answer.content.decode(), re.S)
    assert found, "the page holds no figure"
    return json.loads(found[1])


def _drawn(answer) -> set[str]:
    return {address for trace in _figure(answer)["data"] for address in trace.get("customdata", [])}


def _section(answer, name: str) -> str:
    return answer.content.decode().split(f'aria-labelledby="{name}"')[1].split("</section>")[0]


def test_without_results_the_page_says_what_to_do_first(client, db):
    page = client.get("/").content.decode()
    assert "No detector has been measured yet" in page
    assert "/jobs/new" in page
    assert "plotly" not in page


def test_the_front_of_the_page_is_the_front_of_the_rows(client, db):
    rows = make_results(30)
    answer = client.get("/")
    front = {str(row.uuid) for row in rows if type(row).objects.get(pk=row.pk).on_front}
    assert front
    assert set(re.findall(r'<a href="/results/([^"]+)"', _section(answer, "front"))) == front
    line = next(trace for trace in _figure(answer)["data"] if trace.get("name") == "front")
    assert len(line["x"]) == len(front) + 2


def test_results_of_two_machines_never_share_a_figure(client, db):
    here = make_result(environment=make_environment("CPU A"))
    there = make_result(environment=make_environment("CPU B"))
    newest = client.get("/")
    assert _drawn(newest) == {f"/results/{there.uuid}"}
    assert "CPU A" in _section(newest, "others")
    chosen = client.get("/", {"group": here.group_key})
    assert _drawn(chosen) == {f"/results/{here.uuid}"}


def test_a_result_that_the_evaluators_disagree_on_is_drawn_only_on_request(client, db):
    version = make_dataset_version()
    sound = make_result(dataset_version=version)
    doubted = make_result("ssd_resnet10", dataset_version=version, flags=("evaluators_disagree",))
    assert _drawn(client.get("/")) == {f"/results/{sound.uuid}"}
    assert f"/results/{doubted.uuid}" in _drawn(client.get("/", {"show": "all"}))


def test_points_carry_the_intervals_of_their_ap(client, db):
    row = make_result(ap=0.40)
    type(row).objects.filter(pk=row.pk).update(ap_low=0.37, ap_high=0.41)
    trace = next(trace for trace in _figure(client.get("/"))["data"] if trace.get("customdata"))
    assert (trace["error_y"]["array"], trace["error_y"]["arrayminus"]) == ([1.0], [3.0])
    assert "AP 40.0 (37.0–41.0)" in trace["text"][0]
    assert "37.0–41.0" in _section(client.get("/"), "front")


def test_chips_choose_the_group_that_matches(client, db):
    weeds = make_result(dataset_version=make_dataset_version("weeds", classes=("crop", "weed")))
    make_result()
    answer = client.get("/", {"dataset": weeds.dataset_version.uuid})
    assert _drawn(answer) == {f"/results/{weeds.uuid}"}


def test_a_chip_hides_points_but_never_the_front(client, db):
    make_result("ssd_resnet10", ap=0.5, p50_ms=5)
    slow = make_result("fcos_resnet10_fpn", ap=0.4, p50_ms=9)
    answer = client.get("/", {"family": "fcos"})
    assert _drawn(answer) == {f"/results/{slow.uuid}"}
    assert "SSD ResNet-10" in _section(answer, "front")
    assert "FCOS" not in _section(answer, "front")


def test_a_flagged_result_is_drawn_apart_and_is_not_on_the_front(client, db):
    make_result("ssd_resnet10", ap=0.3)
    flagged = make_result("fcos_resnet10_fpn", ap=0.9, p50_ms=1, flags=("throttled",))
    answer = client.get("/")
    apart = next(trace for trace in _figure(answer)["data"] if trace.get("name") == "flagged")
    assert apart["customdata"] == [f"/results/{flagged.uuid}"]
    assert str(flagged.uuid) not in _section(answer, "front")


def test_a_measurement_without_accuracy_is_listed_under_the_figure(client, db):
    make_result()
    lone = make_result("ssd_resnet18", ap=None)
    answer = client.get("/")
    assert f"/results/{lone.uuid}" not in _drawn(answer)
    assert str(lone.uuid) in _section(answer, "aside")


def test_only_results_of_the_selection_split_leave_the_front_empty_with_a_reason(client, db):
    make_result(split="val")
    page = client.get("/").content.decode()
    assert "No complete result matches these filters" in page
    assert "show=all" in page


def test_a_group_that_does_not_exist_falls_back_to_the_newest(client, db):
    row = make_result()
    assert _drawn(client.get("/", {"group": "nonsense"})) == {f"/results/{row.uuid}"}


def test_no_more_points_are_drawn_than_a_browser_bears(client, db, monkeypatch):
    monkeypatch.setattr(selectors, "MOST_POINTS", 10)
    make_results(25)
    answer = client.get("/")
    assert len(_drawn(answer)) == 10
    assert "15 older ones are not drawn" in answer.content.decode()


def test_the_number_of_queries_does_not_grow_with_the_points(client, db):
    make_results(10)
    client.get("/")
    with CaptureQueriesContext(connection) as few:
        client.get("/")
    make_results(50, seed=1)
    with CaptureQueriesContext(connection) as many:
        client.get("/")
    assert len(many) == len(few)


def test_the_page_needs_no_script_to_tell_its_points(client, db):
    rows = make_results(5)
    table = client.get("/").content.decode().split('id="all-points"')[1].split("</details>")[0]
    assert all(str(row.uuid) in table for row in rows if row.complete)
