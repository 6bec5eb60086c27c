"""`make gpu-check`: what only a CUDA device can show, on any CUDA host, in at most 8 minutes.

Trains a small detector, exports it, times eager fp32 and fp16 by CUDA events and by wall clock, cancels a training and looks whether the
device's memory came back, and lets a training run out of device memory. Writes one JSON report. Exit status: 0 all held, 1 something did
not, 3 no CUDA device here.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

NO_DEVICE = 3
MODEL = "fcos_resnet10_fpn"
DATASET = "fields"
STEP_LIMIT_S = 240
FORWARDS = 50
LEFT_FREE_BYTES = 700 * 1024**2
TOLERANCE_BYTES = 64 * 1024**2
MEMORY_BACK_S = 10.0
GREATEST_DISAGREEMENT = 1.25


def main() -> int:
    """Run every check that applies and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"))
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu-check: there is no CUDA device here; run it on a machine with an NVIDIA GPU and its driver", file=sys.stderr)
        return NO_DEVICE
    with tempfile.TemporaryDirectory(prefix="paretobox-gpu-") as folder:
        checks = run_checks(Path(folder))
    report = {"taken_at": datetime.now(UTC).isoformat(timespec="seconds"), "device": device_record(), "checks": checks}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"gpu-check: {options.out}")
    return 0 if all(check["held"] for check in checks) else 1


def run_checks(folder: Path) -> list[dict[str, Any]]:
    """Run the checks in order; one that breaks is reported and the next goes on."""
    steps: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
        ("train", check_train),
        ("export", check_export),
        ("eager fp32 and fp16", check_timing),
        ("cancel returns device memory", check_cancel),
        ("out of device memory is a resource failure", check_out_of_memory),
    ]
    checks = []
    for name, step in steps:
        began = time.monotonic()
        try:
            found = step(folder)
        except Exception as error:  # whatever a check breaks on is what it found
            found = {"held": False, "problem": f"{type(error).__name__}: {error}"}
        checks.append({"check": name, "seconds": round(time.monotonic() - began, 1), **found})
        print(f"gpu-check: {name}: {'held' if found['held'] else 'DID NOT HOLD'} {found.get('problem', '')}", flush=True)
    return checks


def device_record() -> dict[str, Any]:
    """Return what the device and its software are."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver.stdout.strip() or None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def check_train(folder: Path) -> dict[str, Any]:
    """Two epochs on the device; it ends with a checkpoint and finite numbers."""
    ran = _library("train", *_training(folder / "train", epochs=2), "--json")
    result = json.loads(ran.stdout)
    return {"held": Path(result["best"]["path"]).is_file(), "ap": result["best"]["metrics"]["ap"]}


def check_export(folder: Path) -> dict[str, Any]:
    """The checkpoint trained on the device becomes ONNX, and ONNX Runtime on the CPU and eager on the device give the same AP."""
    checkpoint = folder / "train" / "best.safetensors"
    _library("export", "--checkpoint", str(checkpoint), "--format", "onnx", "--out", str(folder / "export"))
    exported = next((folder / "export").glob("*.onnx"))
    on_cpu = _library("evaluate", "--artifact", str(exported), "--dataset", DATASET, "--split", "val", "--json")
    on_device = _library("evaluate", "--checkpoint", str(checkpoint), "--dataset", DATASET, "--split", "val", "--device", "cuda", "--json")
    ap_cpu, ap_device = json.loads(on_cpu.stdout)["ap"], json.loads(on_device.stdout)["ap"]
    return {"held": abs(ap_cpu - ap_device) <= 0.005, "ap_onnxruntime_cpu": ap_cpu, "ap_eager_cuda": ap_device}


def check_timing(folder: Path) -> dict[str, Any]:
    """Forward passes by both clocks: with the device synchronised they must agree."""
    import torch

    from detection_core.build import load_checkpoint

    _, model, manifest = load_checkpoint(folder / "train" / "best.safetensors")
    figures = {}
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        network = model.to(device="cuda", dtype=dtype).to(memory_format=torch.channels_last).eval()
        images = torch.rand(1, 3, manifest.input.height, manifest.input.width, device="cuda", dtype=dtype)
        figures[name] = _time(network, images)
    agree = all(1 <= times["wall_ms"] / times["events_ms"] <= GREATEST_DISAGREEMENT for times in figures.values())
    return {"held": agree, **figures}


def check_cancel(folder: Path) -> dict[str, Any]:
    """A training that is told to stop ends with status 75, and the device has its memory back."""
    before = _used_bytes()
    process = _start("train", *_training(folder / "cancel", epochs=10_000))
    try:
        during = _wait_for(lambda: _used_bytes() if _used_bytes() > before + TOLERANCE_BYTES else None, STEP_LIMIT_S)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        ended = time.monotonic() - asked
    finally:
        process.kill()
        process.wait()
    after = _wait_for(lambda: _used_bytes() if _used_bytes() <= before + TOLERANCE_BYTES else None, MEMORY_BACK_S)
    back = round(time.monotonic() - asked, 2)
    mebibytes = {"before_mib": before >> 20, "during_mib": during >> 20, "after_mib": after >> 20}
    return {"held": code == 75, "exit_status": code, "ended_s": round(ended, 2), "memory_back_s": back, **mebibytes}


def check_out_of_memory(folder: Path) -> dict[str, Any]:
    """With the device filled by another process, a training fails as a shortage of the machine, not as an error of ours."""
    import torch

    spec = folder / "spec.json"
    recipe = {"epochs": 1, "batch_size": 16, "input_size": 640}
    dataset = {"ref": DATASET, "name": DATASET}
    spec.write_text(json.dumps({"kind": "train", "model": MODEL, "dataset": dataset, "recipe": recipe, "device": "cuda"}))
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(max(free - LEFT_FREE_BYTES, 1), dtype=torch.uint8, device="cuda")
    try:
        ran = _run("run", str(spec), "--out", str(folder / "oom"))
    finally:
        del ballast
        torch.cuda.empty_cache()
    failure = json.loads((folder / "oom" / "failure.json").read_text())
    return {"held": failure["kind"] == "resource" and ran.returncode == 1, "kind": failure["kind"], "message": failure["message"]}


def _training(out: Path, *, epochs: int) -> list[str]:
    return ["--model", MODEL, "--dataset", DATASET, "--epochs", str(epochs), "--device", "cuda", "--threads", "4", "--out", str(out)]


def _time(network: nn.Module, images: Any) -> dict[str, float]:
    import torch

    wall, events = [], []
    with torch.inference_mode():
        for _ in range(20):
            network(images)
        torch.cuda.synchronize()
        for _ in range(FORWARDS):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            began = time.perf_counter_ns()
            begin.record()
            network(images)
            end.record()
            torch.cuda.synchronize()
            wall.append((time.perf_counter_ns() - began) / 1e6)
            events.append(begin.elapsed_time(end))
    return {"wall_ms": statistics.median(wall), "events_ms": statistics.median(events)}


def _used_bytes() -> int:
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


def _wait_for(value: Callable[[], int | None], seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while (found := value()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the device's memory did not change within {seconds:.0f} s")
        time.sleep(0.05)
    return found


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "detection_core", *arguments]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=STEP_LIMIT_S, env=environment, check=False)


def _library(*arguments: str) -> subprocess.CompletedProcess[str]:
    ran = _run(*arguments)
    if ran.returncode:
        raise RuntimeError(f"{arguments[0]} ended with status {ran.returncode}: {ran.stderr.strip()[-500:]}")
    return ran


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(_command(*arguments), **quiet)


if __name__ == "__main__":
    sys.exit(main())
