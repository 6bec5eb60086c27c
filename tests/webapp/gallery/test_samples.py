"""What a training finds on a few images while it learns: its page, the part of it on the training's page, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from detection_core.evaluation.examples import few_examples
from tests.detection_core.evaluation.cases import found, truth
from tests.factories import make_job
from tests.page_factories import make_event, make_stored_dataset
from webapp.jobs.live import event_data
from webapp.jobs.models import Job
from webapp.jobs.states import State

pytestmark = pytest.mark.django_db
NEAR, FAR = (4, 4, 20, 20), (40, 20, 12, 12)


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def sample(*rows: tuple[Any, ...]) -> dict[str, Any]:
    """Two objects on image 2 of the tiny data set, and what was found there."""
    ground_truth = truth([(2, 1, NEAR, 0), (2, 2, FAR, 0)], images=2, classes=2)
    ground_truth["images"] = [{"id": 2, "file_name": "images/b.png", "width": 64, "height": 48}]
    return few_examples(ground_truth, found(*rows), score_thresh=0.3).model_dump(mode="json")


def make_training() -> Job:
    """A training that showed its samples twice: nothing was found after epoch 1, one of two after epoch 3."""
    version = make_stored_dataset()
    spec = {"model": "fcos_resnet10_fpn", "dataset": {"sha256": version.artifact_id}}
    job = make_job("train", state=State.RUNNING, attempt=1, title="fcos on tiny", spec=spec)
    make_event(job, "samples", step=10, epoch=1.0, examples=sample())
    make_event(job, "samples", step=30, epoch=3.0, examples=sample((2, 1, NEAR, 0.9), (2, 1, FAR, 0.6)))
    return job


def test_the_newest_samples_stand_first_drawn_on_their_pictures(client):
    page = client.get(f"/jobs/{make_training().uuid}/samples")
    text = text_of(page)
    assert "epoch 3 " in text
    assert "1 found · 1 false · 1 missed" in text
    assert re.search(r'<img src="/datasets/images/[^/]+/2/file', page.content.decode())


def test_one_turns_to_earlier_samples_and_back(client):
    job = make_training()
    page = client.get(f"/jobs/{job.uuid}/samples").content.decode()
    assert 'rel="next"' not in page
    earlier = client.get(re.search(r'href="([^"]+)" rel="prev"', page).group(1))
    assert "0 found · 0 false · 2 missed" in text_of(earlier)
    assert 'rel="prev"' not in earlier.content.decode()
    later = client.get(re.search(r'href="([^"]+)" rel="next"', earlier.content.decode()).group(1))
    assert "1 found · 1 false · 1 missed" in text_of(later)


def test_a_script_gets_the_samples_without_a_page_around_them(client):
    part = client.get(f"/jobs/{make_training().uuid}/samples?part=1").content.decode()
    assert "<html" not in part
    assert "epoch 3" in part


def test_a_training_without_samples_says_when_they_come(client):
    job = make_job("train", state=State.RUNNING, attempt=1)
    assert "They come with each evaluation on val" in text_of(client.get(f"/jobs/{job.uuid}/samples"))


def test_only_a_training_has_samples(client):
    assert client.get(f"/jobs/{make_job('export', state=State.SUCCEEDED).uuid}/samples").status_code == 404


def test_samples_that_nobody_can_read_are_no_page(client):
    job = make_job("train", state=State.SUCCEEDED, attempt=1)
    make_event(job, "samples", step=10, epoch=1.0, examples={"images": [{"id": "none"}]})
    assert client.get(f"/jobs/{job.uuid}/samples").status_code == 404


def test_the_page_of_the_training_has_a_place_for_them_and_leaves_them_out_of_its_events(client):
    text = client.get(f"/jobs/{make_training().uuid}").content.decode()
    assert re.search(r'id="samples-section"[^>]*(?<!hidden)>', text)
    assert "<td>samples</td>" not in text


def test_watchers_hear_that_samples_came_and_not_the_boxes():
    event = make_training().events.get(seq=2)
    assert event_data(event)["data"] == {"step": 30, "epoch": 3.0}
