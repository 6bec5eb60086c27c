"""The pages of studies in a real browser: accessible, quiet, as wide as the screen, light and dark."""

from __future__ import annotations

import pytest

from detection_core.catalogue.studies import STUDIES
from tests.axe import violations_in_both_schemes
from tests.own_folders import own_folders
from tests.webapp.studies.makers import finish, make_run
from webapp.jobs.states import State

__all__ = ["own_folders"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture
def paths() -> list[str]:
    """The addresses: a whole run with a failed job, one of several heights, one study that never ran."""
    focal = make_run(seeds=[0, 1])
    finish(focal, {arm.name: (0.30 + place / 50, 0.31 + place / 50) for place, arm in enumerate(STUDIES["focal-loss"].arms)})
    failed = focal.jobs.filter(kind="train", labels__arm="mining").first()
    focal.jobs.filter(pk=failed.pk).update(state=State.FAILED, failure_message="the disk is full; free some space")
    heights = make_run("altitude", seeds=[0])
    finish(heights, {f"{arm.name} {tested}": (0.3,) for arm in STUDIES["altitude"].arms for tested in ("10m", "20m", "40m")})
    return ["/studies", "/studies/focal-loss", "/studies/altitude", "/studies/necks", f"/suites/{focal.uuid}", f"/suites/{heights.uuid}"]


@pytest.mark.parametrize("size", SIZES)
def test_the_pages_are_accessible_and_quiet(browser, live_server, alice_client, paths, size):
    context = browser.new_context(base_url=live_server.url, viewport=SIZES[size])
    session = alice_client.cookies["sessionid"].value
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for person in ("stranger", "alice"):
        if person == "alice":
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        for path in paths:
            page.goto(path)
            page.wait_for_load_state("networkidle")
            assert violations_in_both_schemes(page) == [], f"{path} as {person}"
            assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), f"{path} is too wide"
    context.close()
    assert said == []


def test_the_plan_follows_the_form(browser, live_server, alice_client):
    context = browser.new_context(base_url=live_server.url)
    context.add_cookies([{"name": "sessionid", "value": alice_client.cookies["sessionid"].value, "url": live_server.url}])
    page = context.new_page()
    page.goto("/studies/altitude")
    assert "18 trainings" in page.locator("#plan").inner_text()
    page.get_by_label("Seeds").fill("7")
    page.locator("#plan").get_by_text("6 trainings").wait_for()
    context.close()
