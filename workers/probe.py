"""The probe: a child says what this machine is and can run; the worker itself never loads what would be needed to know."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from pathlib import Path

from django.conf import settings

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import ProbeResult
from detection_core.schemas.specs import ProbeSpec
from webapp.hardware.services import host_lease_release, host_lease_take, worker_probed
from workers.child import Child
from workers.database import patiently
from workers.failures import tail
from workers.lanes import Board
from workers.lifecycle import Place, child_command

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 60.0
LONGEST_S = 300.0


class ProbeThread(threading.Thread):
    """Probes once, again after a minute where that failed; waits while a measurement has the host alone."""

    def __init__(self, place: Place, board: Board) -> None:
        super().__init__(name="probe", daemon=True)
        self._place, self._board = place, board
        self._lease = uuid.uuid4()

    def run(self) -> None:
        """Probe until it worked or the worker stops."""
        stopping = self._place.stopping
        while not stopping.is_set():
            if not patiently(self._take_host, give_up=stopping.is_set):
                stopping.wait(settings.HEARTBEAT_SECONDS)
                continue
            folder = self._place.me.folder / "jobs" / "probe"
            try:
                result = self._probe(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                patiently(lambda: host_lease_release(job=self._lease), give_up=stopping.is_set)
            if result is not None:
                return self._record(result)
            stopping.wait(AGAIN_SECONDS)
        return None

    def _take_host(self) -> bool:
        return host_lease_take(host=self._place.me.lease_host, job=self._lease, exclusive=False)

    def _probe(self, folder: Path) -> ProbeResult | None:
        out, log = folder / "out", folder / "log.txt"
        out.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(ProbeSpec().to_json())
        argv = [*child_command(), "run", str(folder / "spec.json"), "--out", str(out), "--lifeline"]
        extra = {"PARETOBOX_CACHE": str(self._place.cache.unpacked)}
        child = Child(argv, folder=folder, log=log, pid_files=self._place.pid_files, extra_env=extra)
        try:
            self._wait(child)
        finally:
            child.end()
        try:
            return ProbeResult.parse(json.loads((out / "result.json").read_bytes()))
        except (OSError, ValueError, InvalidInput) as error:
            logger.warning("the probe of this machine gave no result (%s); its log ends: %s", error, tail(log))
            return None

    def _wait(self, child: Child) -> None:
        started = renewed = time.monotonic()
        while child.poll() is None and not self._place.stopping.is_set() and time.monotonic() - started < LONGEST_S:
            if time.monotonic() - renewed > settings.HEARTBEAT_SECONDS:
                renewed = time.monotonic()
                patiently(self._take_host, give_up=self._place.stopping.is_set)
            time.sleep(0.1)

    def _record(self, result: ProbeResult) -> None:
        me = self._place.me
        self._board.backends = frozenset(ability.name for ability in result.backends if ability.reason is None)
        patiently(lambda: worker_probed(name=me.name, pid=me.pid, result=result), give_up=self._place.stopping.is_set)
