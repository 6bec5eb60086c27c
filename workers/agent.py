"""A worker's threads: started together after the traces of an earlier process are cleared, stopped together."""

from __future__ import annotations

import logging
import shutil
import threading

from webapp.hardware.selectors import former_worker, name_taken
from webapp.hardware.services import worker_stop
from webapp.jobs.services import jobs_of_former_worker_requeue
from webapp.jobs.states import Slot
from workers.database import AWAY, connected, patiently
from workers.heartbeat import HeartbeatThread, register
from workers.identity import Identity
from workers.inputs import InputCache
from workers.lanes import Board, SlotThread
from workers.lifecycle import STOP_GRACE_S, Place
from workers.orphans import PidFiles, take_lock
from workers.probe import ProbeThread
from workers.sweeper import SweeperThread

logger = logging.getLogger(__name__)
NAME_WAIT_S = 2.0


class Agent:
    """Everything a worker does besides listening for wake-ups."""

    def __init__(self, me: Identity) -> None:
        pid_files = PidFiles(me.folder / "pids", me.boot_id)
        self._place = Place(me=me, cache=InputCache(me.cache), pid_files=pid_files)
        self._board = Board()
        self._slots = [SlotThread(slot, self._place, self._board) for slot in (Slot.HEAVY, Slot.LIGHT)]
        helpers = [HeartbeatThread(me, self._board, self._place.stopping), SweeperThread(self._place.stopping)]
        self._threads: list[threading.Thread] = [*self._slots, *helpers, ProbeThread(self._place, self._board)]
        self._starter = threading.Thread(target=self._begin, name="starter", daemon=True)

    def start(self) -> None:
        """End what an earlier process left, then begin; raises AlreadyRunning where that process still lives."""
        me = self._place.me
        self._lock = take_lock(me.folder)
        self._place.pid_files.clear_former()
        shutil.rmtree(me.folder / "jobs", ignore_errors=True)
        self._starter.start()

    def wake_up(self) -> None:
        """Let every slot look for a job now."""
        for slot in self._slots:
            slot.wake_up()

    def ask_to_stop(self) -> None:
        """Take nothing new and let the children save what they have."""
        self._place.stopping.set()
        self.wake_up()

    def stop(self) -> None:
        """Stop, and return once every child is gone and every job is given back."""
        self.ask_to_stop()
        for thread in (self._starter, *self._threads):
            if thread.is_alive():
                thread.join(timeout=2 * STOP_GRACE_S)
        try:
            with connected():
                worker_stop(name=self._place.me.name, pid=self._place.me.pid)
        except AWAY as error:
            logger.warning("the end of this worker could not be written (%s); its silence will tell", error)

    def _begin(self) -> None:
        """Once the database answers: be known by name, take back what the earlier process held, serve."""
        try:
            self._introduce()
        except AWAY:
            return  # told to stop before the database ever answered
        for thread in self._threads:
            thread.start()

    def _introduce(self) -> None:
        me, stopping = self._place.me, self._place.stopping
        while patiently(self._name_taken, give_up=stopping.is_set) and not stopping.is_set():
            logger.warning("a worker named %s lives on another machine; waiting (give this one its own PARETOBOX_WORKER)", me.name)
            stopping.wait(NAME_WAIT_S)
        requeued = patiently(self._take_over, give_up=stopping.is_set)
        logger.info("worker %s serves %s; %s jobs of its earlier process queued again", me.owner, ", ".join(me.lanes), requeued)

    def _name_taken(self) -> bool:
        me = self._place.me
        return name_taken(name=me.name, host=me.host, boot_id=me.boot_id)

    def _take_over(self) -> int:
        me = self._place.me
        former = former_worker(me.name)
        here = former is not None and former.host == me.host
        register(me)
        return jobs_of_former_worker_requeue(name=me.name, worker=me.owner) if here else 0
