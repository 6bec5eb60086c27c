"""One installation from its first start over a crash, a stop and a second start to the death of its supervisor."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.deploy.stacks import READY_WORDS, Supervised, run_up, wait_until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deploy") / "home"


@pytest.fixture(scope="module")
def first(home: Path) -> Iterator[Supervised]:
    supervised = Supervised(home)
    try:
        supervised.await_words(READY_WORDS)
        yield supervised
    finally:
        supervised.end()


def test_a_start_is_over_when_site_and_worker_are_ready(first: Supervised) -> None:
    assert first.status("/readyz") == 200
    for name in ("postgres", "valkey", "site", "worker"):
        assert f"{name:<10}ready" in first.output


def test_secrets_are_for_their_owner_alone(first: Supervised) -> None:
    assert stat.S_IMODE(first.home.stat().st_mode) == 0o700
    for name in ("access.json", "state.json", "valkey/valkey.conf"):
        assert stat.S_IMODE((first.home / name).stat().st_mode) == 0o600, name


def test_no_password_stands_in_a_command_line(first: Supervised) -> None:
    state = json.loads((first.home / "state.json").read_text())
    secrets = [
        state["postgres_password"],
        state["valkey_password"],
        state["secret_key"],
        first.access()["password"],
        first.access()["token"],
    ]
    lines = [" ".join(process.cmdline()) for process in first.processes()]
    assert not [line for line in lines for secret in secrets if secret in line]


def test_every_server_listens_on_the_loopback_alone(first: Supervised) -> None:
    state = json.loads((first.home / "state.json").read_text())
    ports = {first.port, state["postgres_port"], state["valkey_port"]}
    listening = [
        entry.laddr for entry in psutil.net_connections("inet") if entry.status == psutil.CONN_LISTEN and entry.laddr.port in ports
    ]
    assert {address.port for address in listening} == ports
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_access_json_lets_a_client_act(first: Supervised) -> None:
    from webapp.client.api import Access, Client

    assert first.access()["url"] == first.url
    client = Client(Access.load(first.home / "access.json"))
    assert client.jobs() == [] or client.jobs()


def test_a_second_start_while_the_first_runs_says_where_it_is(first: Supervised) -> None:
    refused = run_up(first.home, first.port)
    assert refused.returncode == 1
    assert "already runs" in refused.stderr and first.url in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert first.status("/readyz") == 200


@pytest.mark.parametrize(("name", "words"), [("site", "uvicorn"), ("worker", "workers.celery"), ("valkey", "valkey-server")])
def test_a_process_that_is_killed_is_started_again(first: Supervised, name: str, words: str) -> None:
    killed = first.process(words)
    killed.kill()
    first.await_words(f"{name} ended with code -9; starting it again")
    wait_until(lambda: _living_other(first, words, killed.pid), 60, lambda: f"{name} is not back: {first.logs()}")
    wait_until(lambda: _ready(first), 60, lambda: f"the site is not ready: {first.logs()}")


def test_a_stop_ends_every_process_and_says_so(first: Supervised) -> None:
    assert len(first.processes()) > 5
    assert first.stop(signal.SIGTERM) == 0
    assert first.output.rstrip().endswith("stopped")
    assert "was killed" not in first.output
    assert first.left() == []


def test_a_second_start_reuses_the_state_and_a_killed_supervisor_leaves_no_process(first: Supervised) -> None:
    before = first.access()
    assert first.left() == [], "the test before this one stops the first run"
    second = Supervised(first.home)
    try:
        second.await_words(READY_WORDS, times=2)
        assert second.access() == {**before, "url": second.url}
        assert len(second.processes()) > 5
        assert second.stop(signal.SIGKILL) == -9
        wait_until(lambda: not second.left(), 15, lambda: f"left over: {second.left()}")
        assert not (first.home / "pg" / "postmaster.pid").exists(), "Postgres was not shut down cleanly"
    finally:
        second.end()


def _living_other(supervised: Supervised, words: str, than: int) -> bool:
    children = psutil.Process(supervised._popen.pid).children()
    return any(child.pid != than and words in " ".join(child.cmdline()) for child in children if child.status() != psutil.STATUS_ZOMBIE)


def _ready(supervised: Supervised) -> bool:
    try:
        return supervised.status("/readyz") == 200
    except OSError:
        return False
