"""The whole operation on real files with a real backend, in half a second a run."""

from __future__ import annotations

import hashlib
import json

import pytest

from detection_core.benchmark.samples import read_samples, summary_from_samples
from detection_core.operations import benchmark
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import BenchmarkResult
from detection_core.schemas.specs import BenchmarkSpec

pytestmark = pytest.mark.usefixtures("short_durations")


def spec(checkpoint, pictures, **fields):
    asked = {"artifact": {"ref": str(checkpoint)}, "backend": "eager", "dataset": {"ref": str(pictures)}, "split": "test"}
    return BenchmarkSpec.parse(asked | fields)


def test_a_quick_measurement_has_its_figures_stages_conditions_and_samples(checkpoint, pictures, job):
    result = benchmark.run(spec(checkpoint, pictures), job)
    assert set(result.stages_ms) == {"preprocess", "forward", "postprocess"}
    assert result.samples >= 20
    assert result.runs == 1
    assert result.fps == pytest.approx(1000 / result.latency_ms.mean)
    assert result.latency_ms.min <= result.latency_ms.p50 <= result.latency_ms.p95 <= result.latency_ms.max
    assert result.latency_ms.p50_ci[0] <= result.latency_ms.p50 <= result.latency_ms.p50_ci[1]
    assert result.artifact_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert result.environment.details["threads"] == result.threads == 1
    assert result.protocol["images"] == 8
    assert "stages_disagree" not in result.flags
    assert BenchmarkResult.parse(result.to_json()) == result


def test_every_figure_follows_from_the_samples_file(checkpoint, pictures, job):
    result = benchmark.run(spec(checkpoint, pictures), job)
    (file,) = result.files
    path = job.out / file.path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    again = summary_from_samples(path)
    assert (again.latency_ms, again.fps, again.stages_ms, again.samples, again.runs, again.flags) == (
        result.latency_ms,
        result.fps,
        result.stages_ms,
        result.samples,
        result.runs,
        result.flags,
    )
    content = read_samples(path)
    assert set(content["images"]) == {f"{number}.png" for number in range(1, 9)}
    assert all(reading.total_s > 0 for reading in content["runs"][0].telemetry)


def test_several_runs_have_a_process_each_and_leave_nothing_behind(checkpoint, pictures, job):
    result = benchmark.run(spec(checkpoint, pictures, duration="standard"), job)
    assert result.runs == 2
    assert [run["run"] for run in result.telemetry["runs"]] == [0, 1]
    assert result.samples == sum(run["samples"] for run in result.telemetry["runs"])
    assert result.protocol["interval_scope"] == "between and within runs"
    assert sorted(path.name for path in job.out.iterdir()) == ["events.jsonl", "samples.json.gz"]
    orders = [run.samples.image[:8] for run in read_samples(job.out / "samples.json.gz")["runs"]]
    assert orders[0] != orders[1]


def test_the_null_backend_shows_what_the_harness_itself_costs(checkpoint, pictures, job):
    result = benchmark.run(spec(checkpoint, pictures, backend="null"), job)
    assert result.stages_ms["forward"].p50 < result.stages_ms["preprocess"].p50


@pytest.mark.parametrize("duration", ["quick", "standard"])
def test_a_broken_model_file_is_the_users_to_mend_whichever_process_finds_it(checkpoint, pictures, job, tmp_path, duration):
    torn = tmp_path / "torn.safetensors"
    content = checkpoint.read_bytes()
    torn.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInput, match="torn"):
        benchmark.run(spec(torn, pictures, duration=duration), job)


def test_a_split_without_images_is_refused_before_anything_is_timed(checkpoint, pictures, job):
    with pytest.raises(InvalidInput, match="train"):
        benchmark.run(spec(checkpoint, pictures, split="train"), job)


def test_events_tell_which_run_is_timed_how_far_and_how_long_still(checkpoint, pictures, job, monkeypatch):
    def run_in_new_process(folder, *, run, threads, on_progress):
        on_progress(0.5, 1.0)
        raise RuntimeError

    monkeypatch.setattr(benchmark, "run_in_new_process", run_in_new_process)
    with pytest.raises(RuntimeError):
        benchmark.run(spec(checkpoint, pictures, duration="standard"), job)
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    assert events[0]["message"] == "decoding 8 images"
    assert (events[1]["message"], events[1]["fraction"]) == ("timing, run 1 of 2", 0.25)
    assert events[1]["eta_s"] > 0
