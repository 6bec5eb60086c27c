"""The leaderboard: what it shows, sorts, pages and leaves out."""

from __future__ import annotations

import re

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_dataset_version, make_environment, make_result, make_results


def _models(answer) -> list[str]:
    return re.findall(r'<a href="/results/[^"]+">([^<]+)</a>', answer.content.decode())


def _ranks(answer) -> list[str]:
    return re.findall(r'class="rank num">([^<]*)<', answer.content.decode())


def test_without_results_the_page_says_what_will_stand_here(client, db):
    page = client.get("/leaderboard").content.decode()
    assert "No result yet" in page
    assert "/jobs/new" in page


def test_the_best_ap_stands_first_and_the_header_tells_the_order(client, db):
    make_result("ssd_resnet10", ap=0.31)
    make_result("fcos_resnet10_fpn", ap=0.44)
    answer = client.get("/leaderboard")
    assert _models(answer) == ["FCOS ResNet-10", "SSD ResNet-10"]
    assert answer.content.decode().count('aria-sort="descending"') == 1


def test_a_click_on_the_sorted_header_turns_the_order_round(client, db):
    make_result("ssd_resnet10", ap=0.31, p50_ms=9)
    make_result("fcos_resnet10_fpn", ap=0.44, p50_ms=20)
    answer = client.get("/leaderboard?sort=p50_ms")
    assert _models(answer) == ["SSD ResNet-10", "FCOS ResNet-10"]
    assert 'href="?sort=-p50_ms"' in answer.content.decode()


def test_equal_numbers_share_a_rank(client, db):
    for model, ap in (("ssd_resnet10", 0.5), ("ssd_resnet18", 0.4), ("fcos_resnet10_fpn", 0.4), ("fcos_resnet18_fpn", 0.3)):
        make_result(model, ap=ap)
    assert _ranks(client.get("/leaderboard")) == ["1", "2=", "2=", "4"]


def test_ranks_go_on_over_pages_and_ties_across_them_are_marked(client, db):
    make_results(49)
    for _ in range(3):
        make_result("ssd_resnet10", ap=0.01)
    assert _ranks(client.get("/leaderboard"))[-1] == "50="
    assert _ranks(client.get("/leaderboard?page=2")) == ["50=", "50="]


def test_a_row_without_the_sorted_number_has_no_rank_and_stands_last(client, db):
    make_result("ssd_resnet10", ap=None)
    make_result("fcos_resnet10_fpn", ap=0.2)
    answer = client.get("/leaderboard?show=all")
    assert _ranks(answer) == ["1", "–"]
    assert _models(answer)[-1] == "SSD ResNet-10"


def test_incomplete_results_and_those_of_the_selection_split_appear_only_when_asked_for(client, db):
    make_result("ssd_resnet10", p50_ms=None)
    make_result("ssd_resnet18", split="val")
    make_result("fcos_resnet10_fpn")
    assert _models(client.get("/leaderboard")) == ["FCOS ResNet-10"]
    page = client.get("/leaderboard?show=all")
    assert len(_models(page)) == 3
    assert "selection split" in page.content.decode()
    assert "incomplete" in page.content.decode()


def test_an_ap_stands_with_its_interval(client, db):
    row = make_result("fcos_resnet10_fpn", ap=0.453)
    assert "–46.5" not in client.get("/leaderboard").content.decode()
    row.ap_low, row.ap_high = 0.441, 0.465
    row.save()
    assert '<strong>45.3</strong> <span class="small muted nowrap">44.1–46.5</span>' in client.get("/leaderboard").content.decode()


def test_a_result_that_the_evaluators_disagree_on_appears_only_when_asked_for(client, db):
    make_result("ssd_resnet10", ap=0.9, flags=("evaluators_disagree",))
    make_result("ssd_resnet18", ap=0.5, flags=("disturbed",))
    make_result("fcos_resnet10_fpn", ap=0.4)
    assert _models(client.get("/leaderboard")) == ["SSD ResNet-18", "FCOS ResNet-10"]
    assert _ranks(client.get("/leaderboard")) == ["1", "2"]
    assert "ssd_resnet10" not in client.get("/leaderboard?format=csv").content.decode()
    assert _models(client.get("/leaderboard?show=all"))[0] == "SSD ResNet-10"


def test_chips_filter_and_keep_what_was_chosen(client, db):
    machine = make_environment("Another CPU", threads=2)
    make_result("ssd_resnet10", environment=machine, dataset_version=make_dataset_version("weeds", classes=("crop", "weed")))
    make_result("fcos_resnet10_fpn", backend="eager")
    for query in (f"environment={machine.uuid}", "family=ssd", "backend=onnxruntime", "threads=2", "search=SSD_"):
        answer = client.get(f"/leaderboard?{query}")
        assert _models(answer) == ["SSD ResNet-10"], query
        assert "chip-on" in answer.content.decode(), query


def test_a_filter_that_matches_nothing_says_so(client, db):
    make_result()
    answer = client.get("/leaderboard?search=zebra")
    assert "No result matches these filters" in answer.content.decode()


def test_bad_values_in_the_address_never_break_the_page(client, db):
    make_result()
    for query in ("page=0", "page=-3", "page=9999", "page=x", "sort=password", "dataset=7", "environment=';--", "threads=many", "show=1"):
        assert client.get(f"/leaderboard?{query}").status_code == 200, query


def test_names_from_uploads_are_escaped(client, db):
    make_result("<script>alert(1)</script>", ap=0.3)
    page = client.get("/leaderboard").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_number_of_queries_does_not_grow_with_the_rows(client, db):
    make_results(10)
    client.get("/leaderboard")
    with CaptureQueriesContext(connection) as few:
        client.get("/leaderboard")
    make_results(60, seed=1)
    with CaptureQueriesContext(connection) as many:
        client.get("/leaderboard")
    assert len(many) == len(few)
    assert len(many) < 20
