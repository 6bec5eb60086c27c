"""A checkpoint taken away gives the number of its page in a fresh process with no server; so does a spec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import done, train_spec
from webapp.client.api import Client


@pytest.fixture(scope="module")
def trained(api: Client, small_dataset: str) -> dict:
    """A finished training and the evaluation of its best checkpoint on test."""
    training = done(api, api.submit_job(train_spec(small_dataset)))
    best = next(file for file in api.call("GET", f"/jobs/{training.uuid}")["outputs"] if file["role"] == "checkpoint_best")
    spec = {
        "kind": "evaluate",
        "artifact": {"sha256": best["sha256"]},
        "backend": "eager",
        "dataset": {"sha256": small_dataset},
        "split": "test",
    }
    evaluation = done(api, api.submit_job(spec))
    metrics = api.call("GET", f"/jobs/{evaluation.uuid}")["result"]["metrics"]
    return {"training": training, "evaluation": evaluation, "best": best["sha256"], "metrics": metrics}


def library(*arguments: str, cwd: Path) -> dict:
    """Run the library's command line with no address of any server."""
    hidden = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PARETOBOX_CACHE": str(cwd / "cache")}
    command = [sys.executable, "-m", "detection_core", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout) if "--json" in arguments else {}


def test_a_downloaded_checkpoint_evaluated_with_no_server_has_the_ap_of_its_page(api: Client, trained, small_archive, tmp_path):
    checkpoint = api.download(trained["best"], tmp_path / "best.safetensors")
    found = library("evaluate", "--checkpoint", str(checkpoint), "--dataset", str(small_archive), "--split", "test", "--json", cwd=tmp_path)
    for name, value in trained["metrics"].items():
        assert found[name] == (None if value is None else pytest.approx(value, abs=5e-7)), name


def test_a_downloaded_spec_does_the_job_again(api: Client, trained, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(api.call("GET", f"/jobs/{trained['evaluation'].uuid}/spec")))
    library("run", str(spec), "--out", str(tmp_path / "out"), cwd=tmp_path)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["metrics"] == trained["metrics"]


def test_a_downloaded_training_spec_makes_the_same_bytes_again(api: Client, trained, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(api.call("GET", f"/jobs/{trained['training'].uuid}/spec")))
    library("run", str(spec), "--out", str(tmp_path / "out"), cwd=tmp_path)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["best"]["sha256"] == trained["best"]
