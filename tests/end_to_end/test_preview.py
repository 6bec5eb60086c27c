"""Real photographs with swapped class names: seen in the drawn boxes, corrected in two clicks, remembered by the version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.evidence.browser import freeze, job_succeeds, log_in, preview_archive
from tests.axe import violations_in_both_schemes
from tests.data_at_hand import data_folder
from tests.deploy.stacks import Supervised
from webapp.client.api import Client

pytestmark = pytest.mark.browser

EXCHANGED = "crop renamed weed and weed renamed crop: the two names are exchanged"
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture(scope="session")
def sesame() -> Path:
    return data_folder("sesame-weeds") / "sesame-weeds.tar"


@pytest.fixture
def preview(logged_in: Page, api: Client, sesame: Path, request: pytest.FixtureRequest) -> Page:
    """The preview of the photographs, imported in the browser under a name of the test's own."""
    preview_archive(logged_in, sesame, name=_name(request))
    return logged_in


def _name(request: pytest.FixtureRequest) -> str:
    return request.node.name[:60]


def _counts(page: Page) -> dict[str, int]:
    """Boxes on the shown images by the name that is drawn beside them."""
    labels = page.locator("#images svg rect title").all_text_contents()
    return {name: labels.count(name) for name in set(labels)}


def test_swapped_names_are_seen_in_the_drawn_boxes_and_corrected_in_two_clicks(preview: Page, api: Client, request: pytest.FixtureRequest):
    before = _counts(preview)
    first = preview.locator("#images .picture").first
    drawn = first.locator("svg text").first.text_content()
    expect(first.locator("img")).to_be_visible()
    preview.get_by_role("button", name="Exchange the two names").click()  # the first click
    expect(preview.get_by_role("status").filter(has_text="the two names are exchanged")).to_be_visible()
    expect(first.locator("svg text").first).to_have_text({"weed": "crop", "crop": "weed"}[drawn])
    assert _counts(preview) == {"weed": before["crop"], "crop": before["weed"]}
    expect(preview.get_by_label("Name of weed")).to_have_value("crop")
    freeze(preview)  # the second
    expect(preview.get_by_role("heading", name="Changed against the files")).to_be_visible()
    expect(preview.get_by_text(EXCHANGED)).to_be_visible()
    version = api.dataset_version(_name(request))
    assert version["classes"] == ["crop", "weed"]
    assert [version["splits"][split]["images"] for split in ("train", "val", "test")] == [160, 40, 50]
    assert sum(split["per_class"]["crop"] for split in version["splits"].values()) == 238
    assert version["number"] == 1 and len(api.datasets(_name(request))[0]["versions"]) == 1


def test_the_two_clicks_can_be_two_keys(preview: Page, api: Client, request: pytest.FixtureRequest):
    button = preview.get_by_role("button", name="Exchange the two names")
    for _ in range(40):
        preview.keyboard.press("Tab")
        if button.evaluate("node => node === document.activeElement"):
            break
    preview.keyboard.press("Enter")
    expect(preview.get_by_label("Name of weed")).to_have_value("crop")
    assert preview.evaluate("document.activeElement.id") == "exchange", "the keyboard's place is lost"
    preview.get_by_role("button", name="Freeze", exact=True).focus()
    preview.keyboard.press("Enter")
    job_succeeds(preview)
    assert api.dataset_version(_name(request))["classes"] == ["crop", "weed"]


def test_a_typed_name_is_drawn_at_once_and_enter_does_not_freeze(preview: Page, api: Client, request: pytest.FixtureRequest):
    preview.get_by_label("Name of weed").fill("sesame")
    expect(preview.locator("#images svg rect title", has_text="sesame").first).to_be_attached()
    preview.get_by_label("Name of weed").press("Enter")
    preview.wait_for_url(re.compile("name-0=sesame"))
    expect(preview.get_by_label("Name of weed")).to_have_value("sesame")
    assert [row["frozen"] for row in api.datasets(_name(request))[0]["versions"]] == [False]


def test_without_scripts_the_names_are_exchanged_and_frozen_too(
    browser: Browser, preview: Page, stack: Supervised, api: Client, request: pytest.FixtureRequest
):
    context = browser.new_context(base_url=stack.url, java_script_enabled=False, storage_state=preview.context.storage_state())
    page = context.new_page()
    page.goto(preview.url)
    page.get_by_role("button", name="Exchange the two names").click()
    expect(page.get_by_label("Name of weed")).to_have_value("crop")
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.wait_for_url(re.compile("/jobs/"))
    api.wait(page.url.rstrip("/").rpartition("/")[2])
    assert api.dataset_version(_name(request))["edits"]["steps"][0]["rename"] == {"weed": "crop", "crop": "weed"}
    context.close()


def test_a_second_change_keeps_the_first_in_its_history(preview: Page, api: Client, request: pytest.FixtureRequest):
    preview.get_by_role("button", name="Exchange the two names").click()
    expect(preview.get_by_label("Name of weed")).to_have_value("crop")
    freeze(preview)
    preview.get_by_role("link", name="Edit into a new version").click()
    preview.get_by_label("Drop the boxes of weed").check()
    expect(preview.get_by_role("status").filter(has_text="Boxes of weed dropped")).to_be_visible()
    preview.get_by_role("button", name="Make a new version").click()
    job_succeeds(preview)
    preview.get_by_role("link", name=re.compile("^Data set ")).click()
    changes = preview.get_by_role("heading", name="Changed against the files").locator("xpath=following-sibling::ol/li")
    expect(changes).to_have_text([EXCHANGED, "boxes of weed dropped, their images kept"])
    versions = api.datasets(_name(request))[0]["versions"]
    assert [(row["number"], row["classes"], row["frozen"]) for row in versions] == [(2, ["crop"], True), (1, ["crop", "weed"], True)]


@pytest.fixture(scope="module")
def looked_at(browser: Browser, stack: Supervised, api: Client, sesame: Path) -> list[str]:
    """The addresses of a preview, of one image, of a frozen version and of the form that changes it."""
    context = browser.new_context(base_url=stack.url)
    page = context.new_page()
    access = stack.access()
    log_in(page, access["user"], access["password"])
    preview_archive(page, sesame, name="looked-at")
    preview = page.url.removeprefix(stack.url)
    api.wait(api.import_dataset("looked-at-frozen", path=sesame, edits={"rename": {"weed": "crop", "crop": "weed"}}).uuid)
    context.close()
    data, version = api.datasets("looked-at-frozen")[0], api.dataset_version("looked-at-frozen")
    frozen = f"/datasets/{data['uuid']}"
    image = f"/datasets/images/{version['uuid']}/1"
    return [preview, f"{preview}&name-0=crop&name-1=weed&deal=group", frozen, f"{frozen}?edit=1&drop-0=on&sort=most", image]


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_violation_and_nothing_runs_over_the_edge(browser: Browser, stack: Supervised, looked_at: list[str], size: str):
    context = browser.new_context(base_url=stack.url, viewport=SIZES[size])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    access = stack.access()
    log_in(page, access["user"], access["password"])
    problems = []
    for path in looked_at:
        page.goto(path)
        page.wait_for_load_state("load")
        problems += [f"{path}: {line}" for line in violations_in_both_schemes(page)]
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        problems += [f"{path}: the page is wider than the screen"] if wide else []
    context.close()
    assert problems == []
    assert said == []


def test_images_are_asked_for_scaled_and_found_in_the_browsers_cache_the_second_time(preview: Page):
    images = "performance.getEntriesByType('resource').filter(entry => /images.*file/.test(entry.name))"
    sizes = f"Object.fromEntries({images}.map(entry => [entry.name, entry.transferSize]))"
    preview.wait_for_load_state("networkidle")
    first = preview.evaluate(sizes)
    preview.reload()
    preview.wait_for_load_state("networkidle")
    second = preview.evaluate(sizes)
    assert first and all("?width=" in address for address in first)
    assert [address for address, sent in second.items() if sent and address in first] == []
