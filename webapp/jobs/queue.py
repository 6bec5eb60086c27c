"""Wake-ups: the only place that sends messages. The row is the truth, so one that is lost, doubled or late does no harm."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import transaction
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from webapp.celery import app
from webapp.jobs.models import Job

TASK = "jobs.wake_up"
logger = logging.getLogger(__name__)
# A queue server that does not answer costs seconds a message; whoever submits a job does not wait for that.
_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wake-up")


def queue_name(lane: str, slot: str) -> str:
    """Name the queue that wakes up the workers of a lane for heavy or light jobs."""
    return f"{lane}.{slot}"


def wake_up(jobs: Iterable[Job]) -> None:
    """Wake up the workers of these jobs' lanes, once the transaction has committed. Never fails."""
    messages = [(queue_name(job.lane, job.slot), str(job.uuid)) for job in jobs]
    if messages:
        transaction.on_commit(partial(_sender.submit, send, messages), robust=True)


def send(messages: list[tuple[str, str]]) -> None:
    """Send wake-ups (queue, job id); at the first that the queue server refuses, log it and leave the rest to the workers' own looking."""
    for queue, job_id in messages:
        try:
            app.send_task(TASK, args=[job_id], queue=queue, ignore_result=True, retry=False)
        except (KombuError, RedisError, OSError) as error:
            logger.warning("no wake-up for job %s (%s); its worker will find it by itself", job_id, error)
            return
