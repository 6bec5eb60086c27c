"""Every page: no accessibility violation, no console error, light and dark, on a phone and on a desk."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage

from benchmarks.evidence.browser import log_in
from tests.deploy.stacks import Supervised
from webapp.client.api import Client, Suite

pytestmark = pytest.mark.browser

STATIC_PAGES = (
    "/",
    "/leaderboard",
    "/jobs",
    "/jobs/new",
    "/datasets",
    "/datasets/new",
    "/models",
    "/hardware",
    "/account",
    "/models/fcos_resnet10_fpn",
)
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def pages(api: Client, suite: Suite) -> list[str]:
    """The addresses of one page of each kind, with what a pipeline has made."""
    paths = list(STATIC_PAGES)
    paths += [f"/jobs/{job.uuid}" for job in {job.state: job for job in api.jobs()}.values()]
    paths += [f"/datasets/{dataset['uuid']}" for dataset in api.datasets()[:1]]
    paths += [f"/results/{row.uuid}" for row in api.results()[:1]]
    paths.append(f"/suites/{suite.uuid}")
    return paths


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_quiet(browser: Browser, stack: Supervised, pages: list[str], size: str, scheme: str):
    context = browser.new_context(base_url=stack.url, viewport=SIZES[size], color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(_line(message)) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    access = stack.access()
    log_in(page, access["user"], access["password"])
    problems = []
    for path in pages:
        page.goto(path)
        page.wait_for_load_state("load")
        found = Axe().run(page)
        if found.violations_count:
            problems.append(f"{path}: {found.generate_report()}")
        wider = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        if wider:
            problems.append(f"{path}: the page is wider than the screen")
    context.close()
    assert problems == []
    assert said == []


def _line(message: ConsoleMessage) -> str:
    return f"{message.location.get('url', '')}: {message.text}"
