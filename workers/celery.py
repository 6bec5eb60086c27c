"""The worker's Celery app: `celery -A workers.celery worker -P threads -c 2`. Messages only ring bells; the agent does the work."""

from __future__ import annotations

import logging
import os
from typing import Any

import django
from celery import bootsteps
from celery.signals import worker_shutting_down
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django.setup()

from webapp.celery import app  # noqa: E402
from webapp.jobs.queue import queue_name  # noqa: E402
from webapp.jobs.states import Slot  # noqa: E402
from workers import tasks  # noqa: E402
from workers.agent import Agent  # noqa: E402
from workers.identity import read_identity  # noqa: E402
from workers.orphans import AlreadyRunning  # noqa: E402

__all__ = ["app"]

identity = read_identity()
names = [queue_name(lane, slot) for lane in identity.lanes for slot in (Slot.HEAVY, Slot.LIGHT)]
# Wake-ups are many and say nothing; what becomes of jobs is logged by the lifecycle.
for name in ("celery.worker.strategy", "celery.app.trace"):
    logging.getLogger(name).setLevel(logging.WARNING)
app.conf.task_queues = [Queue(name, Exchange(name), routing_key=name) for name in names]


class AgentStep(bootsteps.StartStopStep):
    """Starts and stops the agent with the worker; before the consumer, so that jobs run also while the queue server is away."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        self._agent = Agent(identity)
        super().__init__(parent, **options)

    def start(self, parent: Any) -> None:
        """Begin to serve."""
        if type(parent.pool).__module__ != "celery.concurrency.thread":
            raise SystemExit("this worker runs in threads only; start it with -P threads")
        try:
            self._agent.start()
        except AlreadyRunning as error:
            raise SystemExit(str(error)) from None
        tasks.bells.append(self._agent.wake_up)
        worker_shutting_down.connect(self._ask_to_stop, weak=False)

    def stop(self, parent: Any) -> None:
        """Give running jobs back and end."""
        self._agent.stop()

    def _ask_to_stop(self, **kwargs: Any) -> None:
        self._agent.ask_to_stop()


app.steps["worker"].add(AgentStep)
