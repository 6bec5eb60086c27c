"""The leaderboard as a file."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.factories import make_dataset_version, make_result, make_results


def _csv(client, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/leaderboard?format=csv{query}")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def test_the_file_holds_every_matching_row_in_full_precision(client, db):
    make_results(60)
    row = make_result("fcos_resnet10_fpn", ap=0.123456789)
    rows = _csv(client)
    assert len(rows) == 61
    assert next(found for found in rows if found["uuid"] == str(row.uuid))["ap"] == "0.123456789"


def test_the_file_holds_the_interval_and_small_object_recall(client, db):
    row = make_result()
    row.ap_low, row.ap_high, row.small_recall = 0.4012345, 0.44, 0.25
    row.save()
    found = _csv(client)[0]
    assert (found["ap_low"], found["ap_high"], found["small_recall"]) == ("0.4012345", "0.44", "0.25")


def test_the_file_is_filtered_and_sorted_as_the_page_is(client, db):
    make_result("ssd_resnet10", p50_ms=5)
    make_result("ssd_resnet18", p50_ms=3)
    make_result("fcos_resnet10_fpn", p50_ms=1)
    assert [row["model"] for row in _csv(client, "&family=ssd&sort=p50_ms")] == ["ssd_resnet18", "ssd_resnet10"]


def test_a_text_that_a_spreadsheet_would_run_is_made_harmless(client, db):
    make_result(dataset_version=make_dataset_version("=HYPERLINK(1)"))
    assert _csv(client)[0]["dataset"].startswith("'=")


def test_json_holds_numbers_and_nothing_for_what_is_not_known(client, db):
    make_result(p50_ms=None)
    rows = json.loads(client.get("/leaderboard?format=json&show=all").content)
    assert rows[0]["p50_ms"] is None
    assert rows[0]["ap"] == 0.42


def test_markdown_is_one_line_a_row(client, db):
    make_result("a|b")
    text = client.get("/leaderboard?format=md").content.decode()
    assert len(text.strip().splitlines()) == 3
    assert "a\\|b" in text


@pytest.mark.parametrize("wanted", ["xml", "CSV", "../csv"])
def test_an_unknown_format_is_refused_with_the_known_ones(client, db, wanted):
    answer = client.get("/leaderboard", {"format": wanted})
    assert answer.status_code == 400
    assert "use one of csv, json, md" in answer.content.decode()
