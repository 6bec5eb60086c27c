"""A job as a process: it hears a stop, and it does not outlive its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")

# Says when it is ready, leaves with 75 when asked to stop (or never, with "deaf"), with one helper process in its group.
CHILD = """
import subprocess, sys, time
from detection_core.operations.process import hold_lifeline, stop_on_signals
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
with stop_on_signals() as stop:
    if "lifeline" in sys.argv:
        hold_lifeline(stop, grace_s=0.5)
    print(helper.pid, flush=True)
    while "deaf" in sys.argv or not stop.wait(0.05):
        time.sleep(0.01)
    helper.kill()
    sys.exit(75)
"""


def start(*words):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    )
    return child, int(child.stdout.readline())


def gone(pid, *, within=5.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_job_to_stop(number):
    child, helper = start()
    child.send_signal(number)
    assert child.wait(timeout=5) == 75
    assert gone(helper)


def test_the_end_of_standard_input_asks_the_job_to_stop():
    child, helper = start("lifeline")
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(timeout=5) == 75
    assert gone(helper)


def test_a_job_that_does_not_hear_is_ended_with_its_helpers_after_the_grace():
    child, helper = start("lifeline", "deaf")
    child.stdin.close()
    assert child.wait(timeout=5) == -signal.SIGKILL
    assert gone(helper)


def test_a_job_ends_when_its_parent_is_killed():
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', sys.argv[1], 'lifeline', 'deaf'], stdin=subprocess.PIPE,"
            " start_new_session=True); print(c.pid, flush=True); c.wait()",
            CHILD,
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    child, helper = int(parent.stdout.readline()), int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert gone(child) and gone(helper)


def test_without_the_lifeline_a_closed_input_means_nothing():
    child, _ = start()
    child.stdin.close()
    time.sleep(0.8)
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(timeout=5)
