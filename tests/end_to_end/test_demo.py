"""The starter benchmark in a fresh clone: the command that a newcomer types first. Heavy: `make test ALL=demo`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.home import free_port
from detection_core.catalogue.detectors import DETECTORS

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[2]
SET_BY_TESTS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PARETOBOX_HOME", "PARETOBOX_TEST_DB")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What `make demo EXIT=1` leaves in demo.json."""
    clone = tmp_path_factory.mktemp("demo") / "paretobox"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_TESTS}
    command = ["make", "demo", "EXIT=1", f"PORT={free_port()}"]
    ended = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=2400, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return json.loads((clone / ".paretobox" / "demo.json").read_text())


def test_the_demo_takes_at_most_20_minutes_and_shows_its_first_point_within_7(report: dict):
    assert report["seconds"] <= 20 * 60
    assert report["first_point_s"] <= 7 * 60


def test_three_families_one_of_them_two_stage_stand_on_both_backends(report: dict):
    rows = report["rows"]
    assert len(rows) >= 6 and not report["failed"]
    assert {(row["family"], row["backend"]) for row in rows} >= {
        (family, backend) for family in {row["family"] for row in rows} for backend in ("eager", "onnxruntime")
    }
    assert len({row["family"] for row in rows}) >= 3
    assert any(DETECTORS[row["model"]].stages == "two" for row in rows)


def test_each_family_has_learned(report: dict):
    best = {row["family"]: max(other["ap50"] for other in report["rows"] if other["family"] == row["family"]) for row in report["rows"]}
    assert min(best.values()) >= 0.15, best
    assert sum(value >= 0.30 for value in best.values()) >= 2, best
