"""What keeps a start from happening is one sentence with the remedy, and nothing is touched."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deploy.local.errors import StartError
from deploy.local.home import Home, free_port, read_json
from deploy.local.servers import postgres_binaries, require_same_major
from tests.deploy.stacks import run_up


def _one_sentence(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_a_taken_port_is_told_with_the_remedy_and_nothing_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = run_up(tmp_path / "home", port)
    assert refused.returncode == 1
    said = _one_sentence(refused.stderr)
    assert f"port {port} is taken" in said and f"PORT={port + 1}" in said
    assert list(tmp_path.iterdir()) == []


def test_the_data_of_another_postgres_major_is_refused_and_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "home" / "pg"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    refused = run_up(tmp_path / "home", free_port())
    assert refused.returncode == 1
    said = _one_sentence(refused.stderr)
    assert "Postgres 15" in said and "PARETOBOX_HOME" in said
    assert [entry.name for entry in data.iterdir()] == ["PG_VERSION"]


def test_a_folder_that_is_no_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StartError, match="PG_VERSION"):
        require_same_major(tmp_path, postgres_binaries())


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run_up(tmp_path / "file" / "home", free_port())
    assert refused.returncode == 1
    assert str(tmp_path / "file" / "home") in _one_sentence(refused.stderr)


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StartError, match=r"state\.json is not valid JSON"):
        read_json(tmp_path / "state.json")


def test_a_lock_that_dying_processes_hold_is_waited_for(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.take()
    inherited = os.dup(home.lock_fd)  # as a child of a killed supervisor holds it
    os.ftruncate(inherited, 0)
    os.pwrite(inherited, b"999999999", 0)
    home.release()
    said: list[str] = []

    def wait(seconds: float) -> None:
        os.close(inherited)

    later = Home(tmp_path)
    later.take(wait, said.append)
    assert said == ["waiting for the processes of an earlier start to end"]
    later.release()
