"""The reading pages in a real browser: figure, theme, click through, accessibility, content policy."""

from __future__ import annotations

import pytest

from tests.axe import violations, violations_in_both_schemes
from tests.factories import make_environment, make_result, make_results, make_worker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "a_model_with_a_name_that_is_far_longer_than_anybody_should_ever_need_for_a_detector"


@pytest.fixture
def rows():
    make_worker(environment=make_environment())
    found = make_results(12)
    return [*found, make_result(LONG, ap=0.2), make_result("ssd_resnet10", ap=None), make_result("ssd_resnet18", flags=("disturbed",))]


@pytest.fixture
def problems(page) -> list[str]:
    """What the console tells of errors and refused styles or scripts."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def _figure(page) -> None:
    page.wait_for_selector(".figure-canvas .main-svg", timeout=60_000)


def test_the_figure_is_drawn_and_nothing_is_refused(page, live_server, rows, problems):
    page.goto(live_server.url + "/")
    _figure(page)
    assert page.locator(".scatterlayer .point").count() >= 12
    assert problems == []


def test_a_click_on_a_point_opens_its_result(page, live_server, rows):
    page.set_viewport_size({"width": 1280, "height": 1400})
    page.goto(live_server.url + "/")
    _figure(page)
    box = page.locator(".scatterlayer .trace .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/results/*")


def test_the_theme_is_remembered_and_the_figure_follows_it(page, live_server, rows):
    page.goto(live_server.url + "/")
    _figure(page)
    light = page.locator(".main-svg").first.evaluate("node => getComputedStyle(node).backgroundColor")
    for wanted in ("Theme: light", "Theme: dark"):
        page.get_by_role("button", name="Theme:").click()
        assert page.get_by_role("button", name=wanted).is_visible()
    page.wait_for_function("before => getComputedStyle(document.querySelector('.main-svg')).backgroundColor !== before", arg=light)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_chip_applies_itself_and_stands_in_the_address(page, live_server, rows):
    page.goto(live_server.url + "/leaderboard")
    page.get_by_label("Backend").select_option("eager")
    page.wait_for_url("**/leaderboard?*backend=eager*")
    assert "dataset=" not in page.url
    assert page.locator("tbody").get_by_text("ONNX Runtime").count() == 0


def test_without_scripts_the_menu_opens_and_the_points_can_be_read(browser, live_server, rows):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(live_server.url + "/")
    page.get_by_text("Menu", exact=True).click()
    assert page.get_by_role("link", name="Leaderboard", exact=True).is_visible()
    page.get_by_text("All points as a table").click()
    assert page.locator("#all-points tbody tr").count() >= 12
    context.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_violation_and_nothing_runs_over_the_edge(browser, live_server, rows, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    long_named = next(row for row in rows if row.model == LONG)
    lone = next(row for row in rows if not row.complete)
    results = [f"/results/{row.uuid}" for row in (long_named, lone)]
    for path in ("/", "/leaderboard?show=all", *results, "/models", "/models/ssd_resnet10", "/hardware", "/login", "/nothing-here"):
        page.goto(live_server.url + path)
        if path == "/":
            _figure(page)
        assert violations_in_both_schemes(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    context.close()


@pytest.mark.parametrize("path", ["/", "/leaderboard", "/hardware"])
def test_empty_pages_pass_axe_too(page, live_server, path):
    page.goto(live_server.url + path)
    assert violations(page) == []
