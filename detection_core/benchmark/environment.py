"""The record of machine and software that stands beside every measurement."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import socket
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from detection_core.schemas.results import Environment

PACKAGES = ("torch", "torchvision", "onnxruntime", "numpy", "pillow")
INSTRUCTION_SETS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve",
)  # fmt: skip
CGROUP = Path("/sys/fs/cgroup")


def environment_record(device: str = "cpu", threads: int | None = None) -> Environment:
    """Describe this machine.

    The hash leaves out what changes while a machine stays the same: host name (a container gets a new one at each
    start), free memory, load, clock readings, kernel build, and the threads of a measurement, which its own record holds: AP and
    latency of one machine have one environment. Latencies with different hashes or threads are never on one front.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        threads: threads a measurement was given. None where no measurement is described.
    """
    cpu = cpu_info()
    gpu = gpu_info(device) if device.startswith("cuda") else {}
    memory_gb = psutil.virtual_memory().total / 2**30
    versions = package_versions() | gpu.pop("versions", {})
    machine = {
        "cpu": cpu["model"],
        "cores": os.cpu_count() or 1,
        "memory_class_gb": memory_class_gb(memory_gb),
        "instruction_sets": cpu["instruction_sets"],
        "limits": container_limits(),
        "device": device.partition(":")[0],
        "gpu": gpu,
    }
    stable = machine | {"python": python_version(), "versions": versions}
    return Environment(
        stable_hash=hash_of(stable),
        hostname=socket.gethostname(),
        cpu=machine["cpu"],
        cores=machine["cores"],
        memory_gb=round(memory_gb, 1),
        instruction_sets=tuple(machine["instruction_sets"]),
        device=device,
        device_name=gpu.get("name"),
        driver=gpu.get("driver"),
        os=platform.platform(),
        python=platform.python_version(),
        versions=versions,
        governor=governor(),
        details={
            "threads": threads,
            "machine_hash": hash_of(machine),
            "memory_class_gb": machine["memory_class_gb"],
            "physical_cores": psutil.cpu_count(logical=False),
            "limits": machine["limits"],
        },
    )


def hash_of(fields: dict[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of `fields` as sorted JSON."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def cpu_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return `model` (text) and `instruction_sets` (those of INSTRUCTION_SETS that the first core has)."""
    fields: dict[str, str] = {}
    try:
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    model = fields.get("model name") or fields.get("Model")
    if not model and "CPU part" in fields:  # ARM kernels give numbers and no name
        model = f"{platform.machine()} implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {"model": model or platform.processor() or platform.machine(), "instruction_sets": [n for n in INSTRUCTION_SETS if n in flags]}


def memory_class_gb(memory_gb: float) -> int:
    """Round to a power of two: what the kernel keeps for itself differs between boots."""
    return 2 ** max(0, round(math.log2(memory_gb)))


def container_limits(root: Path = CGROUP) -> dict[str, float]:
    """Return the limits this process runs under: `cpus` by quota, `cores_allowed` by affinity, `memory_gb`; each only where set."""
    limits: dict[str, float] = {}
    cpus = _quota_cpus(root)
    if cpus is not None:
        limits["cpus"] = cpus
    memory = _first_number(root / "memory.max", root / "memory/memory.limit_in_bytes")
    if memory is not None and memory < 2**50:  # the kernel writes a number near 2**63 for "no limit"
        limits["memory_gb"] = round(memory / 2**30, 2)
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed != os.cpu_count():
            limits["cores_allowed"] = allowed
    return limits


def _quota_cpus(root: Path) -> float | None:
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        quota_us = _first_number(root / "cpu/cpu.cfs_quota_us")
        period_us = _first_number(root / "cpu/cpu.cfs_period_us")
        return round(quota_us / period_us, 2) if quota_us and period_us and quota_us > 0 else None
    return None if quota == "max" else round(int(quota) / int(period), 2)


def _first_number(*paths: Path) -> float | None:
    for path in paths:
        try:
            return float(path.read_text().strip())
        except (OSError, ValueError):
            continue
    return None


def python_version() -> str:
    """Return the minor version: patches of Python do not move latencies."""
    return ".".join(platform.python_version_tuple()[:2])


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that a latency depends on; nothing is imported."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def governor(path: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) -> str | None:
    """Return the frequency governor of the first core, None where the kernel shows none."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def gpu_info(device: str) -> dict[str, Any]:
    """Return name, memory, power limit, driver and library versions of a CUDA device; {} where there is none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(torch.device(device))
    info: dict[str, Any] = {"name": properties.name, "memory_class_gb": memory_class_gb(properties.total_memory / 2**30)}
    info["versions"] = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    handle = nvml_handle(device)
    if handle is not None:
        import pynvml

        info["driver"] = _text(pynvml.nvmlSystemGetDriverVersion())
        try:
            info["power_limit_w"] = round(pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
        except pynvml.NVMLError:
            pass
    return info


def nvml_handle(device: str) -> Any | None:
    """Return NVML's handle of a CUDA device, found by UUID because NVML ignores CUDA_VISIBLE_DEVICES; None without NVML."""
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
        return pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    except Exception:  # the package, the driver or the device may be missing: each has its own error class
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
