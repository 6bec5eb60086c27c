"""The page of a training in a real browser: its charts, who brings its loss, and what it finds on a few images, turned back and forth."""

from __future__ import annotations

import re

import pytest

from detection_core.evaluation.examples import few_examples
from tests.axe import violations_in_both_schemes
from tests.gallery_factories import detections_from, ground_truth_of, make_fields
from tests.own_folders import own_folders
from tests.page_factories import make_event, make_running_job
from webapp.jobs.models import Job

__all__ = ["own_folders"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
CHARTS = [
    "Loss",
    "AP on val, times 100",
    "Share of the classification loss, %",
    "Learning rate",
    "Images a second",
    "Time waiting for images, %",
]


@pytest.fixture
def training() -> Job:
    """A training on the built-in pictures that has shown its samples after three epochs, better each time."""
    version = make_fields(images=1, size=320)
    truth = ground_truth_of(version, split="val")
    job = make_running_job()
    job.spec |= {"dataset": {"sha256": version.artifact_id}}
    job.save(update_fields=["spec"])
    for epoch, skill in ((1, 0.0), (2, 0.6), (4, 2.0)):
        found = detections_from(truth, skill=skill, seed=epoch, false_per_image=2.0)
        examples = few_examples(truth, found, score_thresh=0.3).model_dump(mode="json")
        make_event(job, "samples", step=25 * epoch, epoch=float(epoch), examples=examples)
    return job


def missed(page) -> int:
    return sum(int(count) for count in page.locator("#samples [data-count=missed]").all_text_contents())


def test_a_training_draws_its_charts_and_turns_its_samples_without_leaving_the_page(page, live_server, training):
    page.goto(f"{live_server.url}/jobs/{training.uuid}")
    captions = page.locator("#curves figcaption").all_text_contents()
    assert [caption.partition(", by step")[0] for caption in captions] == CHARTS
    assert "now objects 76, background 24" in captions[2]

    page.locator("#samples .picture img").nth(3).wait_for()
    assert "epoch 4" in page.locator("#samples .pages").inner_text()
    newest = missed(page)
    page.get_by_role("link", name="Earlier").click()
    page.get_by_text("epoch 2", exact=True).wait_for()
    assert missed(page) > newest
    page.keyboard.press("Enter")  # the focus stays on the way back
    page.get_by_text("epoch 1", exact=True).wait_for()
    assert page.get_by_role("link", name="Earlier").count() == 0
    assert page.evaluate("document.activeElement.rel") == "next"
    assert page.url.endswith(str(training.uuid))


@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_violation_and_nothing_runs_over_the_edge(page, live_server, training, width):
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.set_viewport_size({"width": width, "height": 900})
    for address in (f"/jobs/{training.uuid}", f"/jobs/{training.uuid}/samples"):
        page.goto(live_server.url + address)
        page.locator(".gallery .picture").nth(3).wait_for()
        assert violations_in_both_schemes(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    # The stream of news needs an asynchronous server, which this one is not.
    assert [text for text in problems if not re.search("stream", text)] == []
