"""From how a child ended to what a person is told: whose it is to mend, a sentence, a remedy."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import Failure

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
TAIL_LINES = 20
TAIL_BYTES = 16_000
MOST_KILLS = 3
VMSTAT = Path("/proc/vmstat")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
KILLED = "the process was killed, most likely for lack of memory"
KILLED_REMEDY = "use a smaller batch or input size, or a worker with more memory, then retry"


@dataclass(frozen=True)
class Ending:
    """How a child that nobody stopped has ended. `again` says that another try makes sense, at most `most` in all."""

    failure: Failure
    again: bool = False
    most: int | None = None


def ending_of(*, status: int, folder: Path, log_tail: str, killed_for_memory: bool) -> Ending:
    """Judge a child's exit status (negative: minus the signal), the `failure.json` in its folder, and the end of its log."""
    if failure := _written(folder / "failure.json"):
        return Ending(failure)
    if status == -signal.SIGKILL:
        failure = Failure(kind="resource", message=f"{KILLED}; {KILLED_REMEDY}")
        return Ending(failure, again=not killed_for_memory, most=MOST_KILLS)
    if status < 0:
        return Ending(_system(f"the process crashed ({_signal_name(-status)}); the end of the log says where, then retry"))
    if status == STOPPED:
        return Ending(_system("the job stopped although nobody asked it to; look at the worker's machine, then retry"), again=True)
    if "No space left on device" in log_tail:
        return Ending(Failure(kind="resource", message="the worker's disk is full; free some space there, then retry"))
    if status == BAD_INPUT:
        return Ending(Failure(kind="user", message="the job refused its input; the end of the log says why, correct it and submit again"))
    if status == DONE:
        return Ending(_system("the job ended without a result; the end of the log says more, retry"))
    return Ending(_system(f"the job ended with exit status {status} and no word why; the end of the log says more"))


def failure_of(error: Exception) -> Failure:
    """Judge an error of the worker itself."""
    if isinstance(error, InvalidInput):
        return Failure(kind="system", message=f"the job's files do not fit its result: {error}")
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = f" ({error.filename})" if error.filename else ""
        return Failure(kind="resource", message=f"a disk is full{where}; free some space on the worker or the storage, then retry")
    return _system(f"the worker could not finish the job ({type(error).__name__}: {str(error)[:300]}); its own log has the details, retry")


def time_limit_failure(seconds: int) -> Failure:
    """Say that a job ran longer than it may."""
    shown = f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds} s"
    message = f"the job ran longer than its time limit of {shown}; submit it with fewer epochs or minutes, or with a longer limit"
    return Failure(kind="resource", message=message)


def oom_kills() -> int | None:
    """Return how many processes this machine's kernel has killed for lack of memory, or None where it does not say."""
    try:
        lines: Iterable[str] = VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
    except FileNotFoundError:
        return ""


def _written(path: Path) -> Failure | None:
    try:
        return Failure.parse(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def _system(message: str) -> Failure:
    return Failure(kind="system", message=message)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
