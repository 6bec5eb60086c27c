"""What the supervisor does with exit codes and crashes, without real processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.local import supervisor
from deploy.local.errors import StartError, StopRequested
from deploy.local.supervisor import Options, Supervisor


class FakeProcess:
    """A process that has ended with a code, or runs."""

    def __init__(self, code: int | None, started: float = 0.0) -> None:
        self.code, self.started, self.log, self.pid = code, started, Path("a.log"), 1

    def returncode(self) -> int | None:
        return self.code


class FakeStack:
    """Remembers what was asked of it."""

    url = "http://127.0.0.1:1"

    def __init__(self, demo_code: int | None = 0) -> None:
        self.processes: dict[str, Any] = {}
        self.restarted: list[str] = []
        self._demo_code = demo_code

    def start_demo(self) -> FakeProcess:
        self.processes["demo"] = FakeProcess(self._demo_code)
        return self.processes["demo"]

    def restart(self, name: str) -> None:
        self.restarted.append(name)
        self.processes[name] = FakeProcess(1, started=now())


def now() -> float:
    return clock.time


clock = SimpleNamespace(time=0.0)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A supervisor over a fake stack, whose clock moves by a quarter of a second each time it waits."""
    clock.time = 1000.0
    monkeypatch.setattr(supervisor.time, "monotonic", now)

    def make(stack: FakeStack, *, seconds: float, **options: Any) -> Supervisor:
        made = Supervisor(Options(home=tmp_path, port=1, **options))
        made._stack = stack  # type: ignore[assignment]
        end = clock.time + seconds

        def wait(pause: float) -> None:
            clock.time += pause
            if clock.time > end:
                raise StopRequested

        made.wait = wait  # type: ignore[method-assign]
        return made

    return make


@pytest.mark.parametrize("code", [0, 1])
def test_the_benchmarks_exit_code_becomes_ours(made: Any, code: int) -> None:
    watched = made(FakeStack(code), seconds=10, demo=True, exit_after=True)
    with pytest.raises(StopRequested):
        watched._watch()
    assert watched._demo_code == code
    assert clock.time < 1002, "it stops at once"


def test_without_exit_the_site_stays_up_after_the_benchmark(made: Any) -> None:
    watched = made(FakeStack(0), seconds=10, demo=True)
    with pytest.raises(StopRequested):
        watched._watch()
    assert clock.time > 1009


def test_a_process_that_crashes_again_and_again_is_started_ever_less_often(made: Any) -> None:
    stack = FakeStack()
    stack.processes["worker"] = FakeProcess(1, started=now())
    with pytest.raises(StopRequested):
        made(stack, seconds=200)._watch()
    # 1, 2, 4, 8, 16 and then 30 s apart, rather than 200 starts.
    assert 8 <= len(stack.restarted) <= 10
    assert set(stack.restarted) == {"worker"}


def test_a_crash_after_a_long_time_is_mended_at_once(made: Any) -> None:
    stack = FakeStack()
    watched = made(stack, seconds=3)
    watched._crashes["site"] = (5, 0.0)
    stack.processes["site"] = FakeProcess(1, started=now() - 3600)
    with pytest.raises(StopRequested):
        watched._watch()
    assert stack.restarted[0] == "site"


def test_a_restart_that_fails_is_told_and_tried_again(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack = FakeStack()
    tried: list[str] = []

    def fail(name: str) -> None:
        tried.append(name)
        raise StartError("postgres does not start")

    stack.restart = fail  # type: ignore[method-assign]
    stack.processes["postgres"] = FakeProcess(1, started=now())
    with pytest.raises(StopRequested):
        made(stack, seconds=10)._watch()
    assert len(tried) == 3
    assert "postgres does not start" in capsys.readouterr().out
