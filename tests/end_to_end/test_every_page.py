"""Every page: no accessibility violation, no console error, light and dark, on a phone and on a desk."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from benchmarks.evidence.browser import log_in
from tests.axe import violations_in_both_schemes
from tests.deploy.stacks import Supervised
from webapp.client.api import Client, Suite

pytestmark = pytest.mark.browser

PRESETS = ("pipeline", "train", "export", "evaluate", "benchmark")
STATIC_PAGES = (
    "/",
    "/leaderboard",
    "/jobs",
    "/jobs?state=failed",
    *[f"/jobs/new?kind={kind}" for kind in PRESETS],
    "/datasets",
    "/datasets/new",
    "/models",
    "/models/import",
    "/score",
    "/bundles/new",
    "/hardware",
    "/account",
    "/models/fcos_resnet10_fpn",
    "/published",
    "/compare",
    "/studies",
    "/studies/focal-loss",
    "/studies/necks",
    "/studies/altitude",
)
ERROR_PAGES = ("/no-such-page", "/jobs/00000000-0000-0000-0000-000000000000")
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def pages(api: Client, stack: Supervised, suite: Suite) -> list[str]:
    """The addresses of one page of each kind, with what a pipeline has made."""
    paths = list(STATIC_PAGES)
    paths += [f"/jobs/{job.uuid}" for job in {job.state: job for job in api.jobs()}.values()]
    paths += [f"/datasets/{dataset['uuid']}" for dataset in api.datasets()[:1]]
    paths += [f"/datasets/images/{dataset['versions'][0]['uuid']}/1" for dataset in api.datasets()[:1]]
    results = api.results(suite=suite.uuid, show="all")
    paths += [f"/results/{row.uuid}" for row in results[:1]]
    paths.append("/compare?results=" + ",".join(row.uuid for row in results[:3]))
    evaluated = [f"/evaluations/{job.uuid}" for job in suite.jobs if job.kind == "evaluate"]
    paths += [evaluated[0], *(f"{evaluated[0]}/{page}" for page in ("images", "suspects", "differences"))]
    shown = httpx.get(f"{stack.url}{evaluated[0]}/images").text
    paths += [f"{evaluated[0]}/images/{number}" for number in re.findall(r"/images/(\d+)[\"?]", shown)[:1]]
    paths.append(f"{evaluated[0]}/differences/{evaluated[1].split('/')[-1]}")
    paths.append(f"/suites/{suite.uuid}")
    return paths


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_quiet(browser: Browser, stack: Supervised, pages: list[str], size: str):
    context = browser.new_context(base_url=stack.url, viewport=SIZES[size])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(_line(message)) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    problems = list(_problems(page, "/login"))
    access = stack.access()
    log_in(page, access["user"], access["password"])
    problems += [problem for path in pages for problem in _problems(page, path)]
    assert said == []
    problems += [problem for path in ERROR_PAGES for problem in _problems(page, path, status=404)]
    context.close()
    assert problems == []


def _problems(page: Page, path: str, *, status: int = 200) -> Iterator[str]:
    """Open a page and yield what is wrong with it."""
    response = page.goto(path)
    page.wait_for_load_state("load")
    if response is None or response.status != status:
        yield f"{path}: answered {response and response.status}, not {status}"
    yield from (f"{path}: {line}" for line in violations_in_both_schemes(page))
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        yield f"{path}: the page is wider than the screen"


def _line(message: ConsoleMessage) -> str:
    return f"{message.location.get('url', '')}: {message.text}"
