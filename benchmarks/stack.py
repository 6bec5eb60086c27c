"""An embedded stack of its own for rows that measure the whole: started at the first need, stopped at the end of the run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from deploy.local.home import free_port
from deploy.local.stack import ROOT
from webapp.client.api import Access, Client, Job

READY_S = 180.0
STEP_S = 0.02
NOT_OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SITE_URL", "PARETOBOX_WORKER", "PARETOBOX_LANES")
MODEL = "fcos_resnet10_fpn"


class Stack:
    """A running site with one worker, reached as any client reaches it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self._dataset = ""

    @property
    def client(self) -> Client:
        """A client of the site, which is started if it does not run yet."""
        if self._client is None:
            self._client = self._start()
        return self._client

    def stop(self) -> None:
        """Stop all and remove the state; nothing happens if it was never started."""
        if self._supervisor is not None:
            self._supervisor.send_signal(signal.SIGTERM)
            self._supervisor.wait(120)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start_training(self) -> Job:
        """Queue a training that lasts for hours, on a small generated data set."""
        spec = {
            "kind": "train",
            "model": MODEL,
            "dataset": {"sha256": self._small_dataset(), "name": "fields"},
            "recipe": {"epochs": 10_000, "batch_size": 4, "input_size": 128, "state_every_s": 5.0},
            "threads": 1,
        }
        return self.client.submit_job(spec, title="bench")

    def await_running(self, job: Job, *, more_than_attempt: int = 0) -> float:
        """Wait until the job runs in a later attempt and its child lives; return the reading of time.monotonic() at that moment."""

        def running() -> bool:
            data = self.client.job(job.uuid).data
            return data["state"] == "running" and data["attempt"] > more_than_attempt and self.child() is not None

        return self._await(running, f"job {job.uuid} did not start to run")

    def await_learning(self, job: Job) -> None:
        """Wait until the job's child tells of progress, which is some time after its start."""
        self._await(lambda: bool(self.client.job(job.uuid).progress), f"job {job.uuid} told of no progress")

    def cancel(self, job: Job) -> float:
        """Cancel a job, wait until it is cancelled and its child is gone; return the seconds it took."""
        began = time.monotonic()
        self.client.cancel(job.uuid)
        ended = self._await(lambda: self.client.job(job.uuid).state == "cancelled" and self.child() is None, "the job was not cancelled")
        return ended - began

    def seconds_to_numbers(self, predictions: Path, ground_truth: Path, *, told: str) -> float:
        """Upload a results file with its ground truth and score it; return the seconds to the progress message `told` and let it end."""
        began = time.monotonic()
        job = self.client.score(predictions, ground_truth=ground_truth, name="bench")
        reached = self._await(lambda: self._says(job, told), f"the scoring did not come to '{told}'")
        ended = self.client.wait(job.uuid, every_s=0.5)
        if ended.state != "succeeded":
            raise RuntimeError(f"the scoring failed: {ended.failure_message}")
        return reached - began

    def _says(self, job: Job, told: str) -> bool:
        """A job that ended has said it, at the latest; progress is told once a second."""
        now = self.client.job(job.uuid)
        return now.final or now.progress.get("message") == told

    def attempt(self, job: Job) -> int:
        """Return the number of the job's latest attempt."""
        return int(self.client.job(job.uuid).data["attempt"])

    def seconds_to_start(self, job: Job) -> float:
        """Return the seconds from the job's submission to its start, by the database's clock."""
        data = self.client.job(job.uuid).data
        created, started = (datetime.fromisoformat(data[name]) for name in ("created_at", "started_at"))
        return (started - created).total_seconds()

    def worker(self) -> psutil.Process:
        """Return the worker process."""
        found = self._with_words("workers.celery", self._descendants())
        if found is None:
            raise RuntimeError("the worker does not run")
        return found

    def child(self) -> psutil.Process | None:
        """Return the process of the running job, or None."""
        return self._with_words("detection_core run", self._descendants())

    def _start(self) -> Client:
        self._folder = Path(tempfile.mkdtemp(prefix="paretobox-bench-stack-"))
        home = self._folder / "home"
        environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        command = [sys.executable, "-m", "deploy.local", "up", "--home", str(home), "--port", str(free_port())]
        log = self._folder / "supervisor.log"
        with log.open("wb") as output:
            self._supervisor = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._await(lambda: self._is_up(log), "the stack did not start")
        return Client(Access.load(home / "access.json"))

    def _is_up(self, log: Path) -> bool:
        assert self._supervisor is not None
        if self._supervisor.poll() is not None:
            raise RuntimeError(f"the stack ended: {log.read_text().strip()}")
        return "user and password:" in log.read_text()

    def _small_dataset(self) -> str:
        if not self._dataset:
            spec = {"kind": "import", "source": {"ref": "fields", "name": "fields"}, "name": "fields"}
            job = self.client.wait(self.client.submit_job(spec | {"options": {"train": 24, "val": 8, "test": 8}}).uuid, every_s=0.2)
            if job.state != "succeeded":
                raise RuntimeError(f"the data set could not be made: {job.failure_message}")
            self._dataset = self.client.datasets("fields")[0]["versions"][0]["artifact_sha256"]
        return self._dataset

    def _descendants(self) -> list[psutil.Process]:
        if self._supervisor is None:
            return []
        return psutil.Process(self._supervisor.pid).children(recursive=True)

    @staticmethod
    def _with_words(words: str, processes: list[psutil.Process]) -> psutil.Process | None:
        for process in processes:
            try:
                if process.status() != psutil.STATUS_ZOMBIE and words in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    @staticmethod
    def _await(condition: Callable[[], Any], message: str) -> float:
        deadline = time.monotonic() + READY_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{message} within {READY_S:.0f} s")
            time.sleep(STEP_S)
        return time.monotonic()
