"""What a person does in the browser, step by step, on a running site."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

LONG_MS = 15 * 60 * 1000


@contextmanager
def person(url: str, launch: dict[str, Any]) -> Iterator[Page]:
    """Open a browser on the site."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch)
        page = browser.new_page(base_url=url, viewport={"width": 1440, "height": 1000})
        try:
            yield page
        finally:
            browser.close()


def log_in(page: Page, user: str, password: str) -> None:
    """Log in."""
    page.goto("/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda address: "/login" not in address)


def import_archive(page: Page, path: Path, *, name: str) -> None:
    """Upload an archive, look at its preview and freeze it as it is."""
    preview_archive(page, path, name=name)
    freeze(page)


def preview_archive(page: Page, path: Path, *, name: str) -> None:
    """Upload an archive and open its preview once the import has succeeded."""
    page.goto("/datasets/new")
    page.get_by_label("Upload an archive").check()
    page.get_by_label("Archive", exact=True).set_input_files(path)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Import").click()
    job_succeeds(page)
    page.get_by_role("link", name="Look at the preview and freeze it").click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}"))


def job_succeeds(page: Page) -> None:
    """Wait on the page of a job until it has succeeded."""
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"), timeout=LONG_MS)
    expect(page.get_by_role("main").get_by_text(re.compile("^succeeded$", re.IGNORECASE)).first).to_be_visible(timeout=LONG_MS)


def freeze(page: Page) -> None:
    """Freeze the preview that is open, as it stands there; ends on the page of the frozen version."""
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.wait_for_load_state("load")
    if "/jobs/" in page.url:
        job_succeeds(page)
        page.get_by_role("link", name=re.compile("^Data set ")).click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}"))
    expect(page.get_by_role("link", name="Edit into a new version")).to_be_visible()


def submit_pipeline(page: Page, *, dataset: str, models: Sequence[str], minutes: float, input_size: int) -> str:
    """Fill in the pipeline form and submit it; returns the id of the suite."""
    page.goto("/jobs/new")
    choices = page.get_by_label("Data set", exact=True)
    label = next(text for text in choices.locator("option").all_inner_texts() if text.startswith(dataset))
    choices.select_option(label=label)
    page.get_by_label("Minutes of training").fill(str(minutes))
    for box in page.locator("input[name=models]:checked").all():
        box.uncheck()
    for model in models:
        page.locator(f"input[name=models][value={model}]").check()
    page.get_by_label("Input size").fill(str(input_size))
    page.locator("form.new-job button.button-primary").click()
    page.wait_for_url(re.compile(r"/suites/[0-9a-f-]{36}"))
    return page.url.rstrip("/").split("/")[-1]
