"""What the harness adds: measure() with stage clocks around a backend that computes nothing, beside a bare loop of the same calls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from benchmarks.row import Arm, Mark, Options, Row
from detection_core.backends.pipeline import DetectionPipeline
from detection_core.benchmark.clock import wall_clock
from detection_core.benchmark.runner import WarmupRule, image_order, measure
from detection_core.build import build_adapter, make_manifest, save_checkpoint
from detection_core.catalogue.specs import DurationRule

MODEL = "fcos_resnet10_fpn"
IMAGES = 16
WARM = WarmupRule(min_iterations=5, min_seconds=0.1, window_iterations=5, window_seconds=0.1, tolerance=1.5, limit_s=2.0)


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open both arms over one pipeline and one order of images; each figure is the mean of its samples."""
    adapter = build_adapter(MODEL, classes=("a", "b"))
    path = options.folder / "model.safetensors"
    save_checkpoint(path, adapter.build().state_dict(), make_manifest(adapter))
    pipeline = DetectionPipeline(path, backend="null", threads=1)
    images = list(np.random.default_rng(0).integers(0, 255, (IMAGES, 480, 640, 3), dtype=np.uint8))
    samples = 40 if options.quick else 100
    rule = DurationRule(name="quick", runs=1, min_samples=samples, min_seconds=0.1, max_seconds=120.0)

    def harness() -> float:
        def query(image: int) -> dict[str, int]:
            return pipeline.detect_timed(images[image], wall_clock)[1]

        record = measure(query, rule, images=IMAGES, warmup=WARM)
        return (record.recorded_ns[1] - record.recorded_ns[0]) / len(record.recorded()) / 1e6

    def bare_loop() -> float:
        order = image_order(IMAGES, 0)
        for _ in range(WARM.min_iterations):
            pipeline.detect(images[next(order)])
        began = time.perf_counter()
        for _ in range(samples):
            pipeline.detect(images[next(order)])
        return (time.perf_counter() - began) / samples * 1000

    try:
        yield {"harness": harness, "bare loop": bare_loop}
    finally:
        pipeline.close()


ROW = Row(
    name="harness",
    what="one image through the harness, the network left out, beside a bare loop of the same calls",
    unit="ms",
    mark=Mark("overhead", 1.02),
    arms=arms,
    rounds=25,
    quick_rounds=9,
)
