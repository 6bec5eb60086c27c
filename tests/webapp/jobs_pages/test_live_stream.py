"""A job's news as server-sent events: each event once, whatever breaks in between; one poller for all who watch."""

from __future__ import annotations

import asyncio
import functools
import json

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import AsyncClient
from django.urls import reverse

from tests.page_factories import make_event, make_running_job
from webapp.jobs import live
from webapp.jobs.models import Job, JobLog
from webapp.jobs.states import State

# The poller reads in a thread of its own, so what a test writes has to be committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Poll often, so that tests need not wait."""
    monkeypatch.setattr(live, "POLL_SECONDS", 0.02)


def awaited(test):
    """Run an asynchronous test the way Django runs an asynchronous view in a synchronous server."""
    return functools.wraps(test)(lambda *args, **kwargs: async_to_sync(test)(*args, **kwargs))


def _parse(block):
    fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
    data = json.loads(fields["data"]) if "data" in fields else None
    return fields.get("event"), fields.get("id"), data


async def _open(job, *, after="", last_event_id=None):
    headers = {"Last-Event-ID": str(last_event_id)} if last_event_id is not None else {}
    response = await AsyncClient().get(reverse("job-stream", args=[job.uuid]) + after, headers=headers)
    assert response.status_code == 200
    return response


async def _read(response, *, until, seconds=10):
    """Return the events that come until one of them satisfies `until`."""
    found = []

    async def read():
        async for chunk in response:
            event = _parse(chunk.decode())
            if event[0]:
                found.append(event)
            if event[0] and until(event):
                return

    await asyncio.wait_for(read(), seconds)
    return found


def _seqs(events):
    return [int(number) for name, number, _ in events if name == "event"]


def _final(job):
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)


make_running_job_async = sync_to_async(make_running_job)
make_event_async = sync_to_async(make_event)
final_async = sync_to_async(_final)


@awaited
async def test_the_headers_keep_proxies_from_holding_events_back():
    job = await make_running_job_async()
    response = await _open(job)
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-cache"
    assert response["X-Accel-Buffering"] == "no"


@awaited
async def test_a_new_watcher_gets_every_event_in_order_with_its_number_as_id():
    job = await make_running_job_async()
    await final_async(job)
    events = await _read(await _open(job), until=lambda event: event[0] == "end")
    assert _seqs(events) == list(range(1, 11))
    assert all(data["seq"] == int(number) for name, number, data in events if name == "event")
    assert [number for name, number, _ in events if name != "event"] == [None] * len([1 for name, _, _ in events if name != "event"])


@awaited
async def test_a_reconnect_with_last_event_id_gives_each_event_once():
    job = await make_running_job_async()
    first = await _read(await _open(job, after="?after=4"), until=lambda event: event[1] == "7")
    await make_event_async(job, "warning", message="while nobody watched")
    again = await _open(job, after="?after=4", last_event_id=7)
    await final_async(job)
    second = await _read(again, until=lambda event: event[0] == "end")
    assert _seqs(first) + _seqs(second) == list(range(5, 12))


@awaited
async def test_two_pages_that_know_different_parts_each_get_only_what_they_lack():
    job = await make_running_job_async()
    one, other = await _open(job, after="?after=2"), await _open(job, after="?after=8")
    reading = [asyncio.create_task(_read(response, until=lambda event: event[0] == "end")) for response in (one, other)]
    await asyncio.sleep(0.2)
    await final_async(job)
    first, second = await asyncio.gather(*reading)
    assert _seqs(first) == list(range(3, 11))
    assert _seqs(second) == [9, 10]


@awaited
async def test_events_that_happen_while_watching_arrive():
    job = await make_running_job_async()
    response = await _open(job, after="?after=10")
    reading = asyncio.create_task(_read(response, until=lambda event: event[0] == "end"))
    for number in range(25):
        await make_event_async(job, "metric", step=number, values={"loss": 1.0})
    await final_async(job)
    assert _seqs(await reading) == list(range(11, 36))


@awaited
async def test_progress_comes_in_the_words_of_the_page_and_only_when_it_changed():
    job = await make_running_job_async()
    response = await _open(job, after="?after=10")
    reading = asyncio.create_task(_read(response, until=lambda event: event[0] == "end"))
    await asyncio.sleep(0.3)
    await Job.objects.filter(pk=job.pk).aupdate(progress={"fraction": 0.5, "message": "epoch 6 of 12, 41 images/s", "eta_s": 120})
    await asyncio.sleep(0.3)
    await final_async(job)
    progress = [data for name, _, data in await reading if name == "progress"]
    assert [data["words"] for data in progress] == [
        "epoch 4 of 12, 41 images/s, about 3 min left",
        "epoch 6 of 12, 41 images/s, about 2 min left",
        "epoch 6 of 12, 41 images/s, about 2 min left",
    ]
    assert [data["state"] for data in progress] == ["running", "running", "succeeded"]


@awaited
async def test_a_growing_log_is_announced_by_attempt_and_offset():
    job = await make_running_job_async()
    response = await _open(job, after="?after=10")
    reading = asyncio.create_task(_read(response, until=lambda event: event[0] == "end"))
    await asyncio.sleep(0.2)
    await JobLog.objects.acreate(job=job, attempt=1, offset=76, text="more\n")
    await asyncio.sleep(0.2)
    await JobLog.objects.acreate(job=job, attempt=2, offset=0, text="again\n")
    await asyncio.sleep(0.2)
    await final_async(job)
    logs = [data for name, _, data in await reading if name == "log"]
    assert logs == [{"attempt": 1, "offset": 0}, {"attempt": 1, "offset": 76}, {"attempt": 2, "offset": 0}]


@awaited
async def test_a_long_story_is_told_whole_in_several_helpings(monkeypatch):
    monkeypatch.setattr(live, "EVENTS_A_TICK", 3)
    job = await make_running_job_async()
    await final_async(job)
    events = await _read(await _open(job), until=lambda event: event[0] == "end")
    assert _seqs(events) == list(range(1, 11))


@awaited
async def test_a_silent_job_sends_a_comment_so_that_the_line_stays_open(monkeypatch):
    monkeypatch.setattr(live, "COMMENT_SECONDS", 0.05)
    job = await make_running_job_async()
    response = await _open(job, after="?after=10")
    chunks = []
    async for chunk in response:
        chunks.append(chunk)
        if chunk.startswith(b":"):
            break
    assert chunks[-1] == b": still here\n\n"


@awaited
async def test_many_watchers_cost_no_more_reads_than_one(monkeypatch):
    job = await make_running_job_async()
    reads = []
    read = live._read
    monkeypatch.setattr(live, "_read", lambda known: reads.append(dict(known)) or read(known))
    responses = [await _open(job, after="?after=10") for _ in range(12)]
    watching = [asyncio.create_task(_read(response, until=lambda event: event[0] == "end")) for response in responses]
    await asyncio.sleep(0.4)
    await final_async(job)
    told = await asyncio.gather(*watching)
    assert all(events[-1][0] == "end" for events in told)
    assert all(list(known) == [job.pk] for known in reads)
    assert len(reads) < 40


@awaited
async def test_when_the_last_watcher_leaves_the_poller_rests():
    job = await make_running_job_async()
    stream = live.stream(job.pk, after=0)
    await anext(stream)
    poller = live._poller()
    assert poller._task is not None
    await stream.aclose()
    await asyncio.sleep(0.2)
    assert poller._watchers == set()
    assert poller._task is None


@awaited
async def test_a_database_that_is_away_for_a_moment_does_not_end_the_stream(monkeypatch):
    from django.db import OperationalError

    job = await make_running_job_async()
    read, failures = live._read, [OperationalError("away"), OperationalError("away")]

    def sometimes(known):
        if failures:
            raise failures.pop()
        return read(known)

    monkeypatch.setattr(live, "_read", sometimes)
    await final_async(job)
    events = await _read(await _open(job), until=lambda event: event[0] == "end")
    assert _seqs(events) == list(range(1, 11))


@awaited
async def test_a_job_that_does_not_exist_is_not_found():
    response = await AsyncClient().get(reverse("job-stream", args=["6a0e4b62-4b53-4a43-8d7d-2f2f6f6d0c11"]))
    assert response.status_code == 404
