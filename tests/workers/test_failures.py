"""From an exit status to a sentence."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from workers.failures import ending_of, failure_of, tail, time_limit_failure


def end(tmp_path: Path, status: int, *, log: str = "", oom: bool = False):
    return ending_of(status=status, folder=tmp_path, log_tail=log, killed_for_memory=oom)


@pytest.mark.parametrize(
    ("status", "log", "kind", "words"),
    [
        (-9, "", "resource", "most likely for lack of memory; use a smaller batch"),
        (-11, "", "system", "SIGSEGV"),
        (-6, "", "system", "SIGABRT"),
        (2, "", "user", "refused its input"),
        (1, "", "system", "exit status 1"),
        (1, "OSError: [Errno 28] No space left on device", "resource", "disk is full; free some space"),
        (0, "", "system", "ended without a result"),
        (75, "", "system", "nobody asked it to"),
    ],
)
def test_each_way_to_end_has_a_kind_and_a_remedy(tmp_path, status, log, kind, words):
    failure = end(tmp_path, status, log=log).failure
    assert failure.kind == kind and words in failure.message


def test_the_words_of_the_job_itself_come_first(tmp_path):
    (tmp_path / "failure.json").write_text(json.dumps({"kind": "user", "message": "image 3 is broken; replace it"}))
    assert end(tmp_path, -9).failure.message == "image 3 is broken; replace it"


def test_half_a_failure_file_is_no_word(tmp_path):
    (tmp_path / "failure.json").write_text('{"kind": "us')
    assert end(tmp_path, 1).failure.kind == "system"


def test_a_kill_is_tried_again_unless_the_kernel_says_that_memory_was_short(tmp_path):
    assert end(tmp_path, -9).again and end(tmp_path, -9).most == 3
    assert not end(tmp_path, -9, oom=True).again
    assert not end(tmp_path, -11).again


def test_a_full_disk_of_the_worker_is_a_resource_failure():
    failure = failure_of(OSError(errno.ENOSPC, "No space left on device", "/var/x"))
    assert failure.kind == "resource" and "/var/x" in failure.message
    assert failure_of(RuntimeError("odd")).kind == "system"


def test_the_time_limit_is_told_in_hours():
    assert "time limit of 6 h" in time_limit_failure(21600).message
    assert "time limit of 1.5 h" in time_limit_failure(5400).message


def test_the_tail_is_the_last_twenty_lines(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_bytes(b"\xff" + b"\n".join(f"line {number}".encode() for number in range(5000)))
    assert tail(log).splitlines() == [f"line {number}" for number in range(4980, 5000)]
