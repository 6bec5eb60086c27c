"""A data set of eight small pictures, a network and a job around them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from detection_core.benchmark.runner import WARMUPS, WarmupRule
from detection_core.build import build_adapter, make_manifest, save_checkpoint
from detection_core.catalogue.scenarios import DURATIONS
from detection_core.catalogue.specs import DurationRule
from detection_core.operations.context import JobContext
from detection_core.schemas.events import EventWriter


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 9):
        Image.fromarray((rng.random((60, 80, 3)) * 255).astype(np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "weed"}]}
    (folder / "instances_test.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    torch.manual_seed(0)
    adapter = build_adapter("fcos_resnet10_fpn", classes=("weed",), input_size=64)
    save_checkpoint(path, adapter.build().state_dict(), make_manifest(adapter))
    return path


@pytest.fixture
def job(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return JobContext(out=out, events=EventWriter(out / "events.jsonl"), inputs=None, cache=tmp_path / "cache")


@pytest.fixture
def short_durations(monkeypatch):
    """The same protocol in half a second: one run for quick, two for standard."""
    for name, runs in (("quick", 1), ("standard", 2)):
        monkeypatch.setitem(DURATIONS, name, DurationRule(name, runs, min_samples=20, min_seconds=0.2, max_seconds=5.0))
        warmup = WarmupRule(min_iterations=3, min_seconds=0.05, window_iterations=3, window_seconds=0.05, tolerance=2.0, limit_s=2.0)
        monkeypatch.setitem(WARMUPS, name, warmup)
