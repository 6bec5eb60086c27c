"""The samples file holds enough to compute every figure again."""

from __future__ import annotations

import numpy as np

from detection_core.benchmark.samples import figures_of, read_samples, summary_from_samples, write_samples
from tests.detection_core.benchmark.fakes import readings, record_of


def records():
    rng = np.random.default_rng(0)
    made = [record_of(rng.lognormal(3, 0.2, 400), warmup_ms=[900.0] * 20, telemetry=readings(), run=run) for run in range(3)]
    made[1].flags = ("drift",)
    made[2].flags = ("unstable",)
    return made


def write(path):
    write_samples(path, records(), images=["a.png", "b.png"], seed=5, protocol={"version": 1})


def test_every_figure_can_be_computed_again_from_the_file(tmp_path):
    write(tmp_path / "s.json.gz")
    again = summary_from_samples(tmp_path / "s.json.gz")
    assert again == figures_of(records(), seed=5)
    assert (again.samples, again.runs, again.flags) == (1200, 3, ("unstable", "drift"))
    assert again.latency_ms.max < 900  # no warm-up sample


def test_fps_is_a_thousand_over_the_mean_and_not_over_the_median():
    figures = figures_of([record_of([10.0] * 90 + [110.0] * 10)], seed=0)
    assert figures.latency_ms.p50 == 10
    assert figures.fps == 50


def test_the_file_keeps_warm_up_telemetry_and_image_names(tmp_path):
    write(tmp_path / "s.json.gz")
    content = read_samples(tmp_path / "s.json.gz")
    assert content["images"] == ["a.png", "b.png"]
    assert content["runs"] == records()
    assert content["runs"][0].samples.outer_ns[:20] == [900_000_000] * 20


def test_equal_samples_give_equal_bytes(tmp_path):
    write(tmp_path / "s.json.gz")
    write(tmp_path / "t.json.gz")
    written = (tmp_path / "s.json.gz").read_bytes()
    assert written == (tmp_path / "t.json.gz").read_bytes()
    assert written[4:8] == bytes(4), "gzip's field for the time of writing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json.gz", "t.json.gz"]
