"""Live news of jobs for the pages that watch them: one poller a process, whatever the number of watchers.

Every watcher has its own place in a job's events. A tick reads what any watcher lacks and hands each one what follows its place, so
nothing is missed, nothing comes twice, and a watcher that reads slowly is simply served at a later tick.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.db.models import Max

from webapp.jobs.models import Job, JobEvent, JobLog
from webapp.jobs.presentation import progress_percent, progress_words, shown_event
from webapp.jobs.states import FINAL

POLL_SECONDS = 1.0
COMMENT_SECONDS = 15.0
EVENTS_A_TICK = 200
MESSAGES_KEPT = 3 * EVENTS_A_TICK

logger = logging.getLogger(__name__)
# The poller outlives the request that starts it, so it may not use that request's thread for the database.
_database_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live-jobs")


@dataclass(frozen=True)
class Message:
    """One server-sent event; `id` is a JobEvent's seq and absent for news that a reconnecting page gets anew."""

    name: str
    data: dict[str, Any]
    id: int | None = None

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        head = f"id: {self.id}\n" if self.id is not None else ""
        return f"{head}event: {self.name}\ndata: {json.dumps(self.data, separators=(',', ':'))}\n\n".encode()


@dataclass(frozen=True)
class News:
    """What a tick found about one job."""

    status: dict[str, Any]
    log: dict[str, int]
    events: tuple[dict[str, Any], ...]
    last_seq: int
    final: bool


@dataclass(eq=False)
class Watcher:
    """One open page: the job it watches and what it was told last."""

    job_id: int
    seq: int
    status: dict[str, Any] | None = None
    log: dict[str, int] | None = None
    queue: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    def tell(self, news: News) -> None:
        """Queue what this page does not know yet."""
        for event in news.events:
            if event["seq"] > self.seq:
                self.queue.put_nowait(Message("event", event, id=event["seq"]))
                self.seq = event["seq"]
        if news.status != self.status:
            self.queue.put_nowait(Message("progress", news.status))
            self.status = news.status
        if news.log and news.log != self.log:
            self.queue.put_nowait(Message("log", news.log))
            self.log = news.log
        if news.final and self.seq >= news.last_seq:
            self.end()

    def end(self) -> None:
        """Queue the word that nothing more will come."""
        self.queue.put_nowait(Message("end", {}))


class Poller:
    """Reads the jobs that are being watched once a second; rests while nobody watches."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def watch(self, job_id: int, *, after: int) -> Watcher:
        """Begin to watch a job; events up to `after` are known to the page."""
        watcher = Watcher(job_id=job_id, seq=after)
        self._watchers.add(watcher)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Stop watching."""
        self._watchers.discard(watcher)

    async def _run(self) -> None:
        while self._watchers:
            self._wake.clear()
            try:
                await self._tick()
            except DatabaseError as error:
                logger.warning("live jobs: the database did not answer (%s); trying again", error)
            try:
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            except TimeoutError:
                pass
        self._task = None

    async def _tick(self) -> None:
        ready = [watcher for watcher in self._watchers if watcher.queue.qsize() < MESSAGES_KEPT]
        known = {watcher.job_id: min(other.seq for other in ready if other.job_id == watcher.job_id) for watcher in ready}
        news = await sync_to_async(_read, thread_sensitive=False, executor=_database_thread)(known)
        for watcher in ready:
            if watcher.job_id in news:
                watcher.tell(news[watcher.job_id])
            else:
                watcher.end()


def _read(known: dict[int, int]) -> dict[int, News]:
    """Return the news of each job that still exists; `known` gives the seq after which its events are wanted."""
    try:
        columns = ("id", "state", "attempt", "worker", "progress", "event_seq")
        jobs = list(Job.objects.filter(id__in=known).values(*columns))
        behind = {job["id"]: known[job["id"]] for job in jobs if job["event_seq"] > known[job["id"]]}
        logs = _log_ends(list(known))
        return {job["id"]: _news(job, logs.get(job["id"], {}), behind) for job in jobs}
    finally:
        connection.close()


def _log_ends(job_ids: list[int]) -> dict[int, dict[str, int]]:
    chunks = JobLog.objects.filter(job_id__in=job_ids).values("job_id", "attempt").annotate(offset=Max("offset")).order_by("attempt")
    return {chunk["job_id"]: {"attempt": chunk["attempt"], "offset": chunk["offset"]} for chunk in chunks}


def _news(job: dict[str, Any], log: dict[str, int], behind: dict[int, int]) -> News:
    events: tuple[dict[str, Any], ...] = ()
    if job["id"] in behind:
        rows = JobEvent.objects.filter(job_id=job["id"], seq__gt=behind[job["id"]]).order_by("seq")
        events = tuple(event_data(row) for row in rows[:EVENTS_A_TICK])
    status = {name: job[name] for name in ("state", "attempt", "worker")}
    status |= {"percent": progress_percent(job["progress"]), "words": progress_words(job["progress"])}
    return News(status=status, log=log, events=events, last_seq=job["event_seq"], final=job["state"] in FINAL)


def event_data(event: JobEvent) -> dict[str, Any]:
    """Return an event as pages get it, in the page itself and in the stream."""
    words = shown_event(event).words
    # Sample predictions are many boxes; the page fetches them drawn.
    data = {name: event.data.get(name) for name in ("step", "epoch")} if event.type == "samples" else event.data
    return {
        "seq": event.seq,
        "type": event.type,
        "attempt": event.attempt,
        "at": event.created_at.isoformat(),
        "data": data,
        "words": words,
    }


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()


def _poller() -> Poller:
    return _pollers.setdefault(asyncio.get_running_loop(), Poller())


async def stream(job_id: int, *, after: int) -> AsyncIterator[bytes]:
    """Yield the server-sent events of a job from the event `after` on, until the job is final and all is told."""
    poller = _poller()
    watcher = poller.watch(job_id, after=after)
    try:
        yield b"retry: 2000\n\n"
        while True:
            try:
                message = await asyncio.wait_for(watcher.queue.get(), COMMENT_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            yield message.encode()
            if message.name == "end":
                return
    finally:
        poller.leave(watcher)
