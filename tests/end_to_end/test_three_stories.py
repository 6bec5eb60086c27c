"""The three stories in a real browser: queue jobs, read the frontier, download the checkpoint that made the number."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.end_to_end.conftest import WAIT_S
from webapp.client.api import Client, Suite

pytestmark = pytest.mark.browser


def test_the_pipeline_of_two_models_gives_four_complete_results(api: Client, suite: Suite):
    rows = api.results(suite=suite.uuid)
    assert sorted((row.model, row.backend) for row in rows) == [
        ("fasterrcnn_resnet10_fpn", "eager"),
        ("fasterrcnn_resnet10_fpn", "onnxruntime"),
        ("fcos_resnet10_fpn", "eager"),
        ("fcos_resnet10_fpn", "onnxruntime"),
    ]
    assert all(row.complete and row.ap is not None and row.p50_ms > 0 for row in rows)


def test_the_same_checkpoint_has_the_same_ap_on_both_backends(api: Client, suite: Suite):
    by_model: dict[str, list[float]] = {}
    for row in api.results(suite=suite.uuid):
        by_model.setdefault(row.model, []).append(row.ap)
    assert all(abs(first - second) <= 0.005 for first, second in by_model.values()), by_model


def test_the_front_on_the_page_is_the_front_in_the_table_and_the_api(page: Page, api: Client, suite: Suite):
    best = api.frontier(suite=suite.uuid)[0]
    wanted = sorted(point["uuid"] for point in best["points"] if point["on_front"])
    page.goto(f"/?group={best['group']}")
    expect(page.locator(".js-plotly-plot .scatterlayer").first).to_be_visible(timeout=WAIT_S * 1000)
    table = page.get_by_role("region", name="On the front").locator("a[href*='/results/']")
    assert sorted({link.get_attribute("href").rsplit("/", 1)[-1] for link in table.all()}) == wanted
    # Where the machine was disturbed all along, every point is flagged and there is no line.
    line = page.evaluate("(document.querySelector('.js-plotly-plot').data.find(trace => trace.name === 'front')?.x ?? []).slice(1, -1)")
    assert sorted(line) == sorted(point["p50_ms"] for point in best["points"] if point["on_front"])


def test_a_reader_goes_from_the_leaderboard_to_the_checkpoint_and_its_bytes_are_right(page: Page, suite: Suite, tmp_path: Path):
    page.goto(f"/leaderboard?suite={suite.uuid}")
    page.locator("a[href*='/results/']").first.click()
    page.wait_for_url(re.compile("/results/"))
    with page.expect_download() as download:
        page.locator("a[href*='/checkpoints/']").first.click()
    target = tmp_path / "checkpoint.safetensors"
    download.value.save_as(target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    expect(page.get_by_text(digest[:12]).first).to_be_visible()
    assert target.stat().st_size > 1_000_000


def test_a_stranger_reads_and_is_asked_to_log_in_before_acting(page: Page, suite: Suite):
    page.goto("/leaderboard")
    expect(page.locator("table").first).to_be_visible()
    page.goto("/jobs/new")
    expect(page).to_have_url(re.compile("/login"))
