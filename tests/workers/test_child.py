"""Children end with all they have started, and know no secret."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.live import wait_for
from workers.child import Child, child_env
from workers.orphans import AlreadyRunning, PidFiles, take_lock
from workers.processes import kill_session, session_members, start_time, still_alive

SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "


def start(tmp_path: Path, code: str) -> Child:
    pid_files = PidFiles(tmp_path / "pids", "boot")
    return Child([sys.executable, "-c", code], folder=tmp_path, log=tmp_path / "log", pid_files=pid_files, extra_env={})


def said(tmp_path: Path) -> str:
    return (tmp_path / "log").read_text()


def test_a_willing_child_ends_by_sigterm(tmp_path):
    child = start(tmp_path, SLEEP)
    proof = child.stop(grace=5)
    assert (proof.processes, proof.processes_gone, proof.signal) == (1, True, "SIGTERM") and proof.seconds < 4
    assert child.poll() == -15 and not list((tmp_path / "pids").glob("*.json"))


def test_a_stubborn_grandchild_is_killed_after_the_grace(tmp_path):
    child = start(tmp_path, PARENT + SLEEP)
    wait_for(lambda: "ready" in said(tmp_path))
    members = session_members(child.pid)
    proof = child.stop(grace=0.5)
    assert (proof.processes, proof.processes_gone, proof.signal) == (2, True, "SIGKILL")
    assert not still_alive(members)


def test_a_grandchild_that_outlives_its_parent_is_ended_with_the_attempt(tmp_path):
    child = start(tmp_path, PARENT + "time.sleep(0.5)")
    wait_for(lambda: child.poll() is not None)
    assert session_members(child.pid)
    assert child.end() and not session_members(child.pid)


def test_a_child_in_its_own_session_is_found_as_a_descendant(tmp_path):
    own_session = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True); "
    child = start(tmp_path, own_session + SLEEP)
    wait_for(lambda: "ready" in said(tmp_path))
    members = session_members(child.pid)
    assert len(members) == 2
    assert child.stop(grace=0.5).processes_gone and not still_alive(members)


def test_the_lifeline_is_an_open_pipe_that_ends_with_the_worker(tmp_path):
    child = start(tmp_path, "import sys; print('begin', flush=True); sys.stdin.read(); print('cut', flush=True)")
    wait_for(lambda: "begin" in said(tmp_path))
    assert child.poll() is None
    child._process.stdin.close()
    wait_for(lambda: child.poll() is not None)
    assert "cut" in said(tmp_path)
    child.end()


def test_what_opens_the_site_is_not_in_the_environment_of_a_child():
    names = (
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "S3_ENDPOINT",
        "PARETOBOX_TOKEN",
        "PGPASSWORD",
    )
    kept = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1", "HOME": "/root", "KEYBOARD": "us", "LD_LIBRARY_PATH": "/x"}
    assert child_env({**dict.fromkeys(names, "secret"), **kept}) == kept


def leave_a_group(tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)


def test_a_worker_that_starts_kills_the_groups_that_its_earlier_process_left(tmp_path):
    left = leave_a_group(tmp_path)
    PidFiles(tmp_path, "boot").write(left.pid)
    assert PidFiles(tmp_path, "boot").clear_former() == 1
    assert left.wait(timeout=5) == -9 and not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("changed", [{"started": "1"}, {"boot_id": "before the restart"}])
def test_a_process_that_only_has_the_same_number_is_spared(tmp_path, changed):
    other = leave_a_group(tmp_path)
    named = {"pid": other.pid, "started": start_time(other.pid), "boot_id": "boot"}
    (tmp_path / f"{other.pid}.json").write_text(json.dumps({**named, **changed}))
    (tmp_path / "broken.json").write_text("{")
    assert PidFiles(tmp_path, "boot").clear_former() == 0
    time.sleep(0.1)
    assert other.poll() is None and not list(tmp_path.glob("*.json"))
    kill_session(other.pid, reap=other.poll)


def test_only_one_process_is_a_worker_of_a_name(tmp_path):
    lock = take_lock(tmp_path / "w")
    with pytest.raises(AlreadyRunning, match="a worker named w is running already"):
        take_lock(tmp_path / "w")
    lock.close()
    take_lock(tmp_path / "w").close()
