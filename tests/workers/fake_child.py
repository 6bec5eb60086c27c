"""A child that obeys the child protocol and does what its spec's script says: it sleeps, tells, crashes, ignores, forks.

The script stands in `options` of an import spec, in `recipe.model_options` of a train spec.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HASH = "0" * 64
METRICS = dict.fromkeys(
    ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"), 0.5
)
ENVIRONMENT = {"stable_hash": "fake", "hostname": "h", "cpu": "fake cpu", "cores": 2, "memory_gb": 4.0, "os": "Linux", "python": "3.11"}
MANIFEST = {
    "format": "safetensors",
    "model": "fcos_resnet10_fpn",
    "family": "fcos",
    "stages": "one",
    "classes": ["crop"],
    "input": {"height": 64, "width": 64},
    "outputs": ["boxes"],
    "nms_in_graph": False,
    "licence": "Apache-2.0",
    "params_m": 1.0,
}
stopped = threading.Event()


def main() -> int:
    """Do what the script says, then leave a result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--lifeline", action="store_true")
    args = parser.parse_args()
    spec = json.loads(args.spec.read_text())
    script = spec.get("options") or spec.get("recipe", {}).get("model_options", {})
    signal.signal(signal.SIGTERM, signal.SIG_IGN if script.get("ignore_sigterm") else lambda *_: stopped.set())
    threading.Thread(target=_lifeline, daemon=True).start()
    return act(spec, script, args.out, args.inputs)


def act(spec: dict[str, Any], script: dict[str, Any], out: Path, inputs: Path | None) -> int:
    """Follow the script; return the exit status."""
    print("the child starts", flush=True)
    if script.get("print_env"):
        print(json.dumps(dict(os.environ)), flush=True)
    if script.get("print_inputs"):
        print("inputs:", sorted(path.name for path in inputs.iterdir()) if inputs else [], "resume:", spec.get("resume"), flush=True)
    if script.get("grandchild"):
        subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
    for line in script.get("events", ()):
        tell(out, **line)
    if text := script.get("state"):
        save_state(out, text)
    wait(float(script.get("sleep", 0)), out, spec)
    if stopped.is_set():
        save_state(out, "saved at the stop")
        return 75
    if number := script.get("signal"):
        os.kill(os.getpid(), number)
    if failure := script.get("fail"):
        write(out / "failure.json", failure)
        return 2 if failure["kind"] == "user" else 1
    if "exit" in script:
        return int(script["exit"])
    write(out / "result.json", result_of(spec, out))
    return 0


def wait(seconds: float, out: Path, spec: dict[str, Any]) -> None:
    """Wait, resumed jobs not at all: they have done it before."""
    end = time.monotonic() + (0 if spec.get("resume") else seconds)
    while time.monotonic() < end and not stopped.is_set():
        time.sleep(0.02)


def result_of(spec: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return a believable result of the spec's kind."""
    if spec["kind"] == "probe":
        return {
            "kind": "probe",
            "environment": ENVIRONMENT,
            "backends": [{"name": "eager", "devices": ["cpu"], "formats": ["safetensors"]}],
        }
    if spec["kind"] == "train":
        best, last = (output(out, f"checkpoint_{name}", f"{name}.safetensors", name + str(time.time())) for name in ("best", "last"))
        ends = [{"path": file["path"], "sha256": file["sha256"], "epoch": 1.0, "metrics": METRICS} for file in (best, last)]
        shared = {"manifest": MANIFEST, "recipe": spec["recipe"], "dataset_sha256": None, "environment": ENVIRONMENT}
        counts = {"steps": 1, "epochs": 1.0, "seconds": 1.0, "images_per_s": 1.0}
        return {"kind": "train", "best": ends[0], "last": ends[1], **shared, **counts, "files": [best, last]}
    file = output(out, "dataset", "data.tar", "canonical " + spec["name"])
    splits = {"train": {"images": 1, "boxes": 1, "per_class": {"crop": 1}}}
    told = {"name": spec["name"], "content_hash": file["sha256"], "classes": ["crop"], "splits": splits, "report": {}, "form": "coco"}
    return {"kind": "import", **told, "files": [file]}


def output(out: Path, role: str, name: str, text: str) -> dict[str, Any]:
    """Write an output file and describe it."""
    (out / name).write_text(text)
    return {"role": role, "path": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text.encode())}


def save_state(out: Path, text: str) -> None:
    """Write a resumable state and tell it."""
    (out / "state.part").write_text(text)
    (out / "state.part").replace(out / "state.tar")
    digest = hashlib.sha256(text.encode()).hexdigest()
    tell(out, type="state", file={"role": "training_state", "path": "state.tar", "sha256": digest, "size": len(text.encode())})


def tell(out: Path, **event: Any) -> None:
    """Append an event."""
    with (out / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": time.time(), **event}) + "\n")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON by rename."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(path)


def _lifeline() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
