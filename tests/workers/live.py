"""A real worker process for tests: started through Celery's command line, on the test's database and its own lane and folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection

from detection_core.schemas.files import InputFile
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.specs import ImportSpec, TrainSpec
from webapp.artifacts.services import artifact_put_stream
from webapp.hardware.models import Worker
from webapp.jobs.models import Job
from webapp.jobs.services import job_create

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "fcos_resnet10_fpn"
T = TypeVar("T")


def wait_for(what: Callable[[], T | None], *, seconds: float = 20.0) -> T:
    """Return what `what` gives as soon as it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return found


def state_of(job: Job) -> str:
    """Return the job's state as the database has it now."""
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def wait_for_state(job: Job, *states: str, seconds: float = 20.0) -> Job:
    """Return the job once it is in one of these states."""
    deadline = time.monotonic() + seconds
    while state_of(job) not in states:
        job.refresh_from_db()
        said = f"{job.state} ({job.failure_message or job.progress})"
        assert time.monotonic() < deadline, f"the {job.kind} is {said}, not {' or '.join(states)}, after {seconds} s"
        time.sleep(0.05)
    job.refresh_from_db()
    return job


def import_job(lane: str, **script: Any) -> Job:
    """Queue a light job whose child follows `script`."""
    return job_create(spec=ImportSpec(source=InputFile(ref="fields"), name="fake", options=script), lane=lane, title="light")


def train_job(lane: str, **script: Any) -> Job:
    """Queue a heavy job whose child follows `script`."""
    data = artifact_put_stream(chunks=[b"a data set"], kind="dataset", name="data.tar", max_bytes=100)
    dataset = InputFile(sha256=data.sha256, name="data.tar")
    return job_create(spec=TrainSpec(model=MODEL, dataset=dataset, recipe=Recipe(model_options=script)), lane=lane, title="heavy")


@dataclass
class LiveWorker:
    """A worker process. `lane` is its own, so that tests do not meet."""

    folder: Path
    lane: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The worker's name."""
        return f"{self.lane}@test"

    @property
    def log(self) -> str:
        """What the worker has said."""
        return (self.folder / f"{self.lane}.log").read_text()

    def start(self, *, wait: bool = True) -> LiveWorker:
        """Start the process; `wait` until it serves and has probed its machine."""
        before = self.log.count("serves") if (self.folder / f"{self.lane}.log").exists() else 0
        argv = [sys.executable, "-m", "celery", "-A", "workers.celery", "worker", "-P", "threads", "-c", "2", "-l", "INFO", "-n", self.name]
        argv += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (self.folder / f"{self.lane}.log").open("ab") as log:
            env = self._environ()
            self.process = subprocess.Popen(argv, cwd=REPOSITORY, env=env, stdout=log, stderr=log, start_new_session=True)
        if wait:
            wait_for(lambda: self.log.count("serves") > before, seconds=40)
            wait_for(lambda: Worker.objects.filter(name=self.name).exclude(capabilities={}).exists())
        return self

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the worker process alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL, *, seconds: float = 30) -> int:
        """Send a signal and wait for the end."""
        self.tell(number)
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def child_pids(self) -> list[int]:
        """Return the pids that the worker has written down of its children, without the probe."""
        return [pid for pid in self.all_pids() if "probe" not in _command_line(pid)]

    def all_pids(self) -> list[int]:
        """Return the pids that stand in the worker's pid files."""
        return [int(path.stem) for path in (self.folder / "workers" / self.name / "pids").glob("*.json")]

    def child(self) -> int:
        """Return the pid of the one running child, once it is there."""
        return wait_for(self.child_pids)[0]

    def _environ(self) -> dict[str, str]:
        url = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + "/" + str(connection.settings_dict["NAME"])
        own = {
            "DJANGO_SETTINGS_MODULE": "tests.workers.settings",
            "DATABASE_URL": url,
            "PARETOBOX_HOME": str(self.folder),
            "ARTIFACTS_DIR": str(settings.STORAGES["default"]["OPTIONS"]["location"]),
            "PARETOBOX_WORKER": self.name,
            "PARETOBOX_LANES": self.lane,
            "PARETOBOX_THREADS": "1",
            "LEASE_SECONDS": "4",
            "HEARTBEAT_SECONDS": "1",
            "SWEEP_SECONDS": "1",
            "WAKE_UP_AGAIN_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
        }
        return {**os.environ, **own, **self.env}


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
