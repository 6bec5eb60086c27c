"""What each backend answers, and that eager and ONNX Runtime answer alike."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from detection_core.backends.base import obstacle
from detection_core.backends.eager import EagerBackend
from detection_core.backends.null import NOTHING
from detection_core.backends.pipeline import DetectionPipeline
from detection_core.backends.registry import BACKENDS, get_backend
from detection_core.build import load_checkpoint, read_manifest
from detection_core.export.onnx_export import export_onnx, onnx_manifest
from detection_core.schemas.base import InvalidInput
from tests.detection_core.tiny import draw_dataset, save_small_checkpoint


@pytest.fixture(scope="module", params=["fcos_resnet10_fpn", "fasterrcnn_resnet10_fpn"])
def files(request, tmp_path_factory):
    """One network as a checkpoint and as ONNX."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = save_small_checkpoint(folder / "model.safetensors", name=request.param)
    adapter, model, manifest = load_checkpoint(checkpoint)
    export_onnx(adapter, model, onnx_manifest(manifest, parent_sha256="0" * 64), folder / "model.onnx")
    return checkpoint, folder / "model.onnx"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    dataset = draw_dataset(tmp_path_factory.mktemp("data"))
    return [dataset.read_image(record) for record in dataset.records]


def test_eager_and_onnxruntime_find_the_same(files, images):
    eager = DetectionPipeline(files[0], backend="eager")
    onnx = DetectionPipeline(files[1], backend="onnxruntime")
    for image in images:
        one, other = eager.detect(image), onnx.detect(image)
        assert len(one.scores) == len(other.scores) > 0
        assert np.ptp(one.scores) > 1e-3  # scores all alike would make this test say nothing
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_null_gives_outputs_of_the_networks_own_number_and_shapes(files):
    batch = np.zeros((1, 3, 128, 128), dtype=np.float32)
    for path in files:
        manifest = read_manifest(path)
        raw = get_backend("null").load(path, manifest, device="cpu", threads=1).run(batch)
        real = get_backend("eager").load(files[0], manifest, device="cpu", threads=1).run(batch)
        assert len(raw) == len(manifest.outputs)
        assert [output.dtype for output in raw] == [output.dtype for output in real]
        if not manifest.nms_in_graph:
            assert [output.shape for output in raw] == [output.shape for output in real]
        assert all(set(np.unique(output)) <= {NOTHING, 0} for output in raw)


def test_null_finds_nothing_and_leaves_the_random_numbers_alone(files, images):
    import torch

    torch.manual_seed(1)
    before = torch.get_rng_state()
    pipeline = DetectionPipeline(files[0], backend="null")
    assert torch.equal(before, torch.get_rng_state())
    assert len(pipeline.detect(images[0]).boxes) == 0


def test_stages_are_marked_only_when_asked(files):
    batch = np.zeros((1, 3, 128, 128), dtype=np.float32)
    for name, path in (("eager", files[0]), ("onnxruntime", files[1]), ("null", files[0])):
        session = get_backend(name).load(path, read_manifest(path), device="cpu", threads=1)
        marks = []
        session.run(batch)
        session.run(batch, marks.append)
        assert marks == ["forward"], name
        session.close()


def test_a_broken_onnx_graph_is_refused_in_one_sentence(files, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(files[1].read_bytes()[:4000])
    with pytest.raises(InvalidInput, match=r"model\.onnx cannot be loaded by ONNX Runtime .* export the model again") as error:
        get_backend("onnxruntime").load(broken, read_manifest(files[1]), device="cpu", threads=1)
    assert "\n" not in str(error.value)


def test_onnxruntime_gets_its_threads_and_only_the_cpu(files):
    session = get_backend("onnxruntime").load(files[1], read_manifest(files[1]), device="cpu", threads=3)
    options = session._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert session._session.get_providers() == ["CPUExecutionProvider"]


def test_every_backend_can_run_on_the_cpu_here_and_bears_its_own_name():
    for name in BACKENDS:
        ability = get_backend(name).ability()
        assert ability.name == name and "cpu" in ability.devices and ability.formats and ability.reason is None


def test_a_missing_runtime_is_told_with_the_remedy(files, monkeypatch):
    monkeypatch.setattr("detection_core.backends.onnxruntime.find_spec", lambda name: None)
    backend = get_backend("onnxruntime")
    assert backend.ability().devices == ()
    assert "onnxruntime is not installed; install" in obstacle(backend, read_manifest(files[1]), "cpu")


def test_eager_without_a_cuda_device_says_so(files, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidInput, match="no CUDA device on this machine; use --device cpu"):
        EagerBackend().load(files[0], read_manifest(files[0]), device="cuda", threads=1)


def test_the_registry_loads_no_backend_before_it_is_asked():
    import subprocess

    code = "import sys, detection_core.backends.registry; sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
