"""The environment record: equal on one machine, different where latencies may not be compared."""

from __future__ import annotations

import socket
import subprocess
import sys

import psutil

from detection_core.benchmark import environment
from detection_core.benchmark.environment import container_limits, cpu_info, environment_record, memory_class_gb

ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n\nprocessor\t: 1\nmodel name\t: other\n"


def test_two_records_of_one_machine_have_one_hash():
    assert environment_record("cpu", 2).stable_hash == environment_record("cpu", 2).stable_hash


def test_the_host_name_and_the_free_memory_are_not_in_the_hash(monkeypatch):
    before = environment_record("cpu", 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-container")
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1, total=int(memory.total * 1.001)))
    after = environment_record("cpu", 1)
    assert after.hostname == "another-container"
    assert after.stable_hash == before.stable_hash


def test_accuracy_on_two_threads_and_latency_on_one_have_one_environment():
    assert environment_record("cpu", 2).stable_hash == environment_record("cpu", 1).stable_hash


def test_versions_and_limits_are_in_the_hash(monkeypatch):
    one = environment_record("cpu", 1)
    monkeypatch.setattr(environment, "package_versions", lambda: {"torch": "9.9"})
    newer = environment_record("cpu", 1)
    assert newer.stable_hash != one.stable_hash
    assert newer.details["machine_hash"] == one.details["machine_hash"]
    monkeypatch.setattr(environment, "container_limits", lambda: {"cpus": 0.5})
    assert environment_record("cpu", 1).details["machine_hash"] != one.details["machine_hash"]


def test_processor_and_instruction_sets_are_read_on_x86_and_arm(tmp_path):
    (tmp_path / "x86").write_text(X86)
    (tmp_path / "arm").write_text(ARM)
    assert cpu_info(tmp_path / "x86") == {"model": "Some CPU @ 2GHz", "instruction_sets": ["avx2", "avx512_vnni", "amx_int8"]}
    arm = cpu_info(tmp_path / "arm")
    assert "0xd0b" in arm["model"]
    assert arm["instruction_sets"] == ["asimd", "asimddp"]
    assert cpu_info(tmp_path / "absent")["model"]


def test_limits_of_a_container_are_read_in_both_versions_of_cgroups(tmp_path):
    new, old, free = tmp_path / "v2", tmp_path / "v1", tmp_path / "free"
    for folder in (new, old / "cpu", old / "memory", free):
        folder.mkdir(parents=True)
    (new / "cpu.max").write_text("150000 100000\n")
    (new / "memory.max").write_text(str(2 * 2**30))
    (old / "cpu/cpu.cfs_quota_us").write_text("200000")
    (old / "cpu/cpu.cfs_period_us").write_text("100000")
    (old / "memory/memory.limit_in_bytes").write_text(str(9223372036854771712))
    (free / "cpu.max").write_text("max 100000\n")
    (free / "memory.max").write_text("max\n")
    ignored = {"cores_allowed"}
    limits = [{key: value for key, value in container_limits(root).items() if key not in ignored} for root in (new, old, free)]
    assert limits == [{"cpus": 1.5, "memory_gb": 2.0}, {"cpus": 2.0}, {}]


def test_memory_is_rounded_so_that_a_reboot_changes_nothing():
    assert [memory_class_gb(value) for value in (7.6, 7.8, 15.4, 23.5, 31.2, 125.7)] == [8, 8, 16, 32, 32, 128]


def test_the_record_names_the_versions_and_loads_none_of_the_packages():
    code = (
        "import sys; from detection_core.benchmark.environment import environment_record as e; v = e('cpu', 1).versions;"
        "assert {'torch', 'onnxruntime', 'numpy'} <= set(v), v; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
