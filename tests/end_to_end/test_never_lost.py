"""A real training survives the death of its process, of its worker and of the whole stack: it resumes, ends once, leaves one result."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.deploy.stacks import READY_WORDS, Supervised, wait_until
from tests.end_to_end.conftest import WAIT_S, train_spec
from webapp.client.api import Access, Client, Job

EPOCHS = 16


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A stack that may be killed."""
    stack = Supervised(tmp_path_factory.mktemp("fragile") / "home")
    try:
        stack.await_words(READY_WORDS)
        yield stack
    finally:
        stack.end()


@pytest.fixture(scope="module")
def dataset(own_stack: Supervised, small_archive: Path) -> str:
    client = client_of(own_stack)
    assert client.wait(client.import_dataset("small", path=small_archive).uuid).state == "succeeded"
    return client.datasets("small")[0]["versions"][0]["artifact_sha256"]


def client_of(stack: Supervised) -> Client:
    return Client(Access.load(stack.home / "access.json"))


def children(stack: Supervised, job: Job) -> list[psutil.Process]:
    """The processes of a job's child."""
    return [process for process in stack.processes() if "detection_core" in process.cmdline() and "run" in process.cmdline()]


def training_with_a_saved_state(stack: Supervised, dataset: str, seed: int) -> Job:
    """Submit a training and wait until it has saved a state."""
    client = client_of(stack)
    job = client.submit_job(train_spec(dataset, epochs=EPOCHS, seed=seed, eval_every=EPOCHS))

    def saved() -> bool:
        ended = client.job(job.uuid)
        assert not ended.final, f"the training ended before it could be killed: {ended.state} {ended.failure_message}"
        return ended.data["resumable"]

    wait_until(saved, WAIT_S, lambda: "no state was saved")
    assert children(stack, job)
    return job


def assert_resumed_and_ended_once(stack: Supervised, job: Job) -> None:
    client = client_of(stack)
    wait_until(lambda: client.job(job.uuid).final, WAIT_S, lambda: "the job did not end")
    ended = client.call("GET", f"/jobs/{job.uuid}")
    assert ended["state"] == "succeeded", ended["failure_message"]
    assert ended["attempt"] >= 2
    log = client.call("GET", f"/jobs/{job.uuid}/log")["text"]
    moves = [event["data"].get("to") for event in client.call("GET", f"/jobs/{job.uuid}/events") if event["type"] == "move"]
    assert moves.count("succeeded") == 1, moves
    assert len(client.call("GET", "/checkpoints", params={"job": job.uuid})) == 2, "best and last, once"
    history = [entry["epoch"] for entry in ended["result"]["history"]]
    assert history == sorted(set(history)) and len(history) == EPOCHS, f"{history} {log[-500:]}"
    time.sleep(1.0)
    assert not children(stack, job), "a process was left behind"


def test_kill_9_of_the_child_resumes_the_training(own_stack: Supervised, dataset: str):
    job = training_with_a_saved_state(own_stack, dataset, seed=1)
    for process in children(own_stack, job):
        process.kill()
    assert_resumed_and_ended_once(own_stack, job)


def test_kill_9_of_the_worker_resumes_the_training(own_stack: Supervised, dataset: str):
    job = training_with_a_saved_state(own_stack, dataset, seed=2)
    for process in own_stack.processes():
        if "celery" in " ".join(process.cmdline()):
            process.kill()
    assert_resumed_and_ended_once(own_stack, job)


def test_kill_9_of_the_whole_stack_leaves_nothing_and_the_next_start_resumes_the_training(own_stack: Supervised, dataset: str):
    job = training_with_a_saved_state(own_stack, dataset, seed=3)
    own_stack.stop(signal.SIGKILL)
    own_stack.end()
    again = Supervised(own_stack.home, own_stack.port)
    try:
        again.await_words(READY_WORDS, times=2)
        assert_resumed_and_ended_once(again, job)
    finally:
        again.end()


def test_cancel_of_a_running_training_kills_it_and_says_so(stack: Supervised, api: Client, small_dataset: str):
    job = training_with_a_saved_state(stack, small_dataset, seed=4)
    api.cancel(job.uuid)
    assert api.wait(job.uuid, every_s=0.2).state == "cancelled"
    assert not children(stack, job)
    page = api._http.get(f"{stack.url}/jobs/{job.uuid}").text
    assert "Cancelled" in page
