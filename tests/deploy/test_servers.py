"""Postgres and Valkey of the wheels: as root, as another account, after a kill, with odd passwords."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local import account
from deploy.local.account import Account, postgres_account
from deploy.local.errors import StartError
from deploy.local.home import free_port
from deploy.local.processes import Process, death_signal
from deploy.local.servers import PostgresServer, ValkeyServer, valkey_binary
from deploy.local.stack import ROOT

ODD_PASSWORD = "a/b:c@d %#?'x"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="shows what root can do")

Started = Callable[[PostgresServer | ValkeyServer], Process]


@pytest.fixture
def start() -> Iterator[Started]:
    processes: list[Process] = []

    def begin(server: PostgresServer | ValkeyServer) -> Process:
        processes.append(server.start())
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()


def _postgres(folder: Path, password: str = ODD_PASSWORD, *, durable: bool = False) -> PostgresServer:
    return PostgresServer(folder / "pg", free_port(), password, folder / "postgres.log", durable=durable)


def test_postgres_keeps_its_rows_over_a_kill(tmp_path: Path, start: Started) -> None:
    server = _postgres(tmp_path, durable=True)
    process = start(server)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    process.kill()
    start(server)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_postgres_refuses_a_wrong_password(tmp_path: Path, start: Started) -> None:
    server = _postgres(tmp_path, "right")
    start(server)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url.replace("right", "wrong"))


@root_only
@pytest.mark.parametrize("way", [account.namespace_account, account.nobody_account])
def test_root_runs_postgres_in_either_way(
    tmp_path: Path, start: Started, monkeypatch: pytest.MonkeyPatch, way: Callable[[], Account | None]
) -> None:
    found = way()
    if found is None or subprocess.run([*found.prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow it")
    monkeypatch.setattr("deploy.local.servers.postgres_account", way)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = _postgres(closed)
    start(server)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@root_only
def test_an_ordinary_user_runs_postgres_directly(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    prefix = [unshare or "", "--user", "--map-user=65534", "--map-group=65534"]
    if not unshare or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no user namespace to be an ordinary user in")
    code = """
import os, signal, sys
from pathlib import Path
import psycopg
from deploy.local.account import postgres_account
from deploy.local.servers import PostgresServer
assert os.geteuid() != 0 and postgres_account().prefix == ()
folder = Path(sys.argv[1])
server = PostgresServer(folder / "pg", int(sys.argv[2]), "secret", folder / "log", durable=False)
process = server.start()
psycopg.connect(server.url).execute("SELECT 1")
assert process.stop(signal.SIGINT, 20)
"""
    subprocess.run([*prefix, sys.executable, "-c", code, str(tmp_path), str(free_port())], cwd=ROOT, check=True, timeout=120)


@root_only
def test_root_that_may_not_change_its_account_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(StartError, match="ordinary user or set DATABASE_URL"):
        postgres_account()


def test_a_start_that_was_cut_off_before_the_data_folder_was_whole_is_begun_again(tmp_path: Path, start: Started) -> None:
    (tmp_path / "pg.new").mkdir()
    (tmp_path / "pg.new" / "half").write_text("")
    start(_postgres(tmp_path))
    assert not (tmp_path / "pg.new").exists()
    assert not (tmp_path / ".pg-password").exists()


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path: Path, start: Started) -> None:
    server = _postgres(tmp_path)
    start(server).kill()
    (tmp_path / "pg" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(StartError, match="ended with code") as told:
        server.start()
    assert str(server.log) in str(told.value)


def test_valkey_keeps_its_keys_over_a_stop_and_asks_for_the_password(tmp_path: Path, start: Started) -> None:
    server = ValkeyServer(tmp_path / "a folder", free_port(), "secret", tmp_path / "valkey.log")
    process = start(server)
    with redis.Redis.from_url(server.url) as connection:
        connection.set("kept", "yes")
    with pytest.raises(redis.AuthenticationError), redis.Redis(port=server.port) as stranger:
        stranger.ping()
    assert process.stop(signal.SIGTERM, 20)
    start(server)
    with redis.Redis.from_url(server.url) as connection:
        assert connection.get("kept") == b"yes"


def test_without_the_wheel_a_server_on_the_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.servers._package_folder", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/redis-server" if name == "redis-server" else None)
    assert valkey_binary() == Path("/usr/bin/redis-server")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(StartError, match="set REDIS_URL"):
        valkey_binary()


@pytest.mark.skipif(not death_signal("TERM"), reason="there is no setpriv here")
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from deploy.local.servers import ValkeyServer
process = ValkeyServer(Path(sys.argv[1]), int(sys.argv[2]), "secret", Path(sys.argv[1] + ".log")).start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "valkey"), str(free_port())], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert ran.returncode == -signal.SIGKILL
    from tests.deploy.stacks import wait_until

    wait_until(lambda: not Path(f"/proc/{ran.stdout.strip()}/cmdline").exists(), 15, lambda: "valkey lives on")
