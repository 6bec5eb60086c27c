"""One whole stack for the end-to-end tests: real Postgres, Valkey, site and worker, started as people start them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from rich.console import Console

from benchmarks.evidence.browser import import_archive, log_in, submit_pipeline
from tests.deploy.stacks import READY_WORDS, Supervised
from webapp.client.api import Access, Client, Job, Suite
from webapp.client.watch import watch_suite

SMALL = {"train": 24, "val": 8, "test": 8, "size": 128, "altitude_m": [10.0]}
WAIT_S = 600


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A running stack on a home and a port of its own."""
    stack = Supervised(tmp_path_factory.mktemp("stack") / "home")
    try:
        stack.await_words(READY_WORDS)
        yield stack
    finally:
        stack.end()


@pytest.fixture(scope="session")
def api(stack: Supervised) -> Client:
    """A client that may act on the stack."""
    return Client(Access.load(stack.home / "access.json"))


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set as a person would upload it: a .tar in canonical form."""
    from detection_core.data.canonical import write_canonical
    from detection_core.data.load import load_dataset

    folder = tmp_path_factory.mktemp("small")
    path = folder / "small.tar"
    write_canonical(load_dataset("fields", cache_dir=folder / "cache", options=SMALL), path)
    return path


@pytest.fixture(scope="session")
def small_dataset(api: Client, small_archive: Path) -> str:
    """The sha256 of the small data set, imported on the stack."""
    done(api, api.import_dataset("small-fields", path=small_archive))
    return api.datasets("small-fields")[0]["versions"][0]["artifact_sha256"]


@pytest.fixture
def logged_in(page, stack: Supervised):
    """A browser page where the first user is logged in."""
    page.goto(stack.url)
    access = stack.access()
    log_in(page, access["user"], access["password"])
    return page


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict, stack: Supervised) -> dict:
    """Addresses in tests are relative to the stack."""
    return {**browser_context_args, "base_url": stack.url, "viewport": {"width": 1440, "height": 1000}}


@pytest.fixture(scope="session")
def suite(stack: Supervised, api: Client, small_archive: Path, browser: Browser, browser_context_args: dict) -> Suite:
    """A pipeline of two models, submitted in the browser and run to its end."""
    page = browser.new_context(**browser_context_args).new_page()
    access = stack.access()
    log_in(page, access["user"], access["password"])
    import_archive(page, small_archive, name="browser-fields")
    models = ("fcos_resnet10_fpn", "fasterrcnn_resnet10_fpn")
    suite_id = submit_pipeline(page, dataset="browser-fields", models=models, minutes=0.2, input_size=128)
    expect(page.get_by_role("rowheader", name="FCOS ResNet-10")).to_be_visible()
    page.context.close()
    ended = watch_suite(api, suite_id, Console(stderr=True))
    assert [(job.kind, job.state, job.failure_message) for job in ended.jobs if job.state != "succeeded"] == []
    return ended


def done(api: Client, job: Job) -> Job:
    """Wait for a job, which must succeed."""
    ended = api.wait(job.uuid, every_s=0.5)
    assert ended.state == "succeeded", f"{ended.kind} {ended.state}: {ended.failure_message}\n{ended.data['log_tail']}"
    return ended


def train_spec(dataset: str, *, epochs: int = 2, **recipe: object) -> dict:
    """A training that takes seconds."""
    settings = {"epochs": epochs, "input_size": 128, "batch_size": 4, "state_every_s": 0.5, **recipe}
    return {
        "kind": "train",
        "model": "fcos_resnet10_fpn",
        "dataset": {"sha256": dataset, "name": "small"},
        "recipe": settings,
        "threads": 1,
    }
