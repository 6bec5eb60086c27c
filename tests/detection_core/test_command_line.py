"""The commands as people and scripts call them: exit status, one JSON document on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detection_core.__main__ import main
from detection_core.operations.run import THREAD_VARIABLES
from tests.detection_core.evaluation.test_coco_files import ANNOTATION, ground_truth
from tests.detection_core.foreign_graphs import constant_graph, saved, yolox_outputs
from tests.detection_core.tiny import save_small_checkpoint, write_yolo

ROOT = Path(__file__).parents[2]
METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
MODEL = ["--model", "fcos_resnet10_fpn", "--input-size", "64", "--batch-size", "3"]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def call(capfd):
    """Run a command with --json in this process; return its status and its document, which must be all of standard output."""

    def run(*words):
        status = main([str(word) for word in (*words, "--json")])
        return status, json.loads(capfd.readouterr().out)

    return run


@pytest.fixture
def coco_files(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth()))
    (tmp_path / "dt.json").write_text(json.dumps([{**ANNOTATION, "score": 0.5}]))
    return tmp_path / "gt.json", tmp_path / "dt.json"


def spawn(*words, **options):
    return subprocess.Popen([sys.executable, "-m", "detection_core", *map(str, words)], cwd=ROOT, **options)


@pytest.mark.parametrize("command", ["models", "datasets"])
def test_lists_need_no_numerical_library(command):
    code = (
        "import sys; from detection_core.__main__ import main; status = main([sys.argv[1], '--json']); "
        "heavy = {'torch', 'numpy', 'onnxruntime', 'hotcoco', 'pycocotools', 'PIL'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code, command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) >= 2


def test_models_tell_the_fields_of_the_contract(call):
    status, rows = call("models")
    assert status == 0
    assert set(rows[0]) == {"name", "family", "stages", "params_m", "macs_g", "input_size", "licence", "paper", "nms_free", "extra"}
    assert {"one", "two"} <= {row["stages"] for row in rows}


def test_the_way_from_training_to_the_accuracy_of_the_exported_file(call, tmp_path):
    data = write_yolo(tmp_path, splits=("train", "val", "test"))
    status, trained = call("train", *MODEL, "--dataset", data, "--epochs", 1, "--seed", 1, "--out", tmp_path / "run")
    assert status == 0
    assert set(METRICS) <= set(trained["best"]["metrics"]) and Path(trained["last"]["path"]).is_file()
    best = trained["best"]["path"]

    status, exported = call("export", "--checkpoint", best, "--format", "onnx", "--dtype", "fp32", "--out", tmp_path / "onnx")
    assert status == 0 and exported["max_abs_difference"] < 1e-3

    status, on_val = call("evaluate", "--checkpoint", best, "--dataset", data, "--split", "val")
    assert status == 0 and on_val["backend"] == "eager" and set(METRICS) <= set(on_val)
    assert on_val["metrics"] == trained["best"]["metrics"]
    assert on_val["files"] == []

    status, on_test = call("evaluate", "--artifact", exported["path"], "--dataset", data, "--out", tmp_path / "evaluation")
    assert status == 0 and (on_test["backend"], on_test["split"]) == ("onnxruntime", "test")
    assert (tmp_path / "evaluation" / on_test["files"][0]["path"]).is_file()

    # What the command did can be done again as a job, with the same numbers.
    status, again = call("run", tmp_path / "evaluation" / "spec.json", "--out", tmp_path / "again")
    assert status == 0 and again["metrics"] == on_test["metrics"]
    assert again["files"][0]["sha256"] == on_test["files"][0]["sha256"]


def test_benchmark_prints_latency_and_its_conditions(call, tmp_path, monkeypatch):
    from detection_core.benchmark import runner
    from detection_core.catalogue import scenarios
    from detection_core.catalogue.specs import DurationRule

    short = DurationRule(name="quick", runs=1, min_samples=5, min_seconds=0.01, max_seconds=60.0)
    monkeypatch.setitem(scenarios.DURATIONS, "quick", short)
    rule = runner.WarmupRule(min_iterations=2, min_seconds=0.0, window_iterations=2, window_seconds=0.0, tolerance=9.0, limit_s=1.0)
    monkeypatch.setitem(runner.WARMUPS, "quick", rule)
    checkpoint = save_small_checkpoint(tmp_path / "model.safetensors")
    status, document = call(
        "benchmark",
        "--artifact",
        checkpoint,
        "--dataset",
        write_yolo(tmp_path),
        "--scenario",
        "single_stream",
        "--duration",
        "quick",
        "--threads",
        1,
    )
    assert status == 0
    assert {"mean", "p50", "p90", "p95", "p99"} <= set(document["latency_ms"])
    assert document["backend"] == "eager" and document["samples"] >= 5
    assert {"preprocess", "forward", "postprocess"} <= set(document["stages_ms"])
    assert {"fps", "flags", "environment"} <= set(document)


def test_a_results_file_is_scored_without_a_model(call, coco_files):
    status, document = call("evaluate", "--ground-truth", coco_files[0], "--predictions", coco_files[1])
    assert status == 0 and document["ap"] == pytest.approx(1) and document["ap_small"] is None


def test_without_json_a_person_reads_a_table(coco_files, capfd):
    assert main(["evaluate", "--ground-truth", str(coco_files[0]), "--predictions", str(coco_files[1])]) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0].split() == ["ap", "1"] and captured.out.splitlines()[3].split() == ["ap_small", "-"]
    assert "ap 95%" in captured.out and "1 to 1, 1000 draws of 1 images" in captured.out
    assert "0.5, largest F1 on the same images" in captured.out


def test_a_results_file_is_scored_on_a_split_of_a_data_set(call, tmp_path):
    data = write_yolo(tmp_path, splits=("val", "test"))
    (tmp_path / "dt.json").write_text(json.dumps([{"file_name": "test-b.png", "category_id": 2, "bbox": [10, 50, 32, 40], "score": 0.5}]))
    status, document = call("evaluate", "--dataset", data, "--split", "test", "--predictions", tmp_path / "dt.json")
    assert status == 0 and document["kind"] == "score" and document["split"] == "test" and document["images"] == 3
    assert document["metrics"]["ap"] == pytest.approx((0 + 51 / 101) / 2)
    assert document["accuracy"]["operating_point"]["true_positives"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "give --checkpoint or --artifact with --dataset, or --predictions with either --ground-truth or --dataset"),
        (["evaluate", "--checkpoint", "none.safetensors", "--dataset", "fields"], "no file none.safetensors; correct the path"),
        (["evaluate", "--checkpoint", "{pickle}", "--dataset", "fields"], "best.pt is a pickle"),
        (["evaluate", "--ground-truth", "{broken}", "--predictions", "{broken}"], "broken.json is not JSON"),
        (["evaluate", "--checkpoint", "x", "--dataset", "fields", "--split", "all"], "field 'split'"),
        (["benchmark", "--artifact", "x", "--dataset", "fields", "--scenario", "server"], "field 'scenario'"),
        (["benchmark", "--artifact", "x", "--dataset", "fields", "--batch", "8"], "field 'batch'"),
        (["train", *MODEL, "--dataset", "nowhere", "--out", "{out}"], "nowhere"),
        (["train", "--model", "yolo99", "--dataset", "fields", "--out", "{out}"], "yolo99"),
        (
            ["train", *MODEL, "--dataset", "fields", "--weights", "default", "--out", "{out}"],
            "nobody publishes weights for fcos",
        ),
        (["train", *MODEL, "--dataset", "fields", "--resume", "{out}", "--out", "{out}"], "holds no saved state of a training"),
        (["train", *MODEL, "--dataset", "fields", "--recipe", "{broken}", "--out", "{out}"], "broken.json is not JSON"),
        (["train", *MODEL, "--dataset", "fields", "--epochs", "0", "--out", "{out}"], "field 'recipe.epochs'"),
        (["export", "--checkpoint", "x", "--format", "openvino", "--out", "{out}"], "field 'format'"),
    ],
)
def test_bad_input_exits_2_with_one_sentence_that_names_it(call, tmp_path, words, message):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "best.pt").write_bytes(b"\x80\x04" + bytes(100))
    places = {"out": tmp_path / "out", "broken": tmp_path / "broken.json", "pickle": tmp_path / "best.pt"}
    status, document = call(*[word.format(**places) for word in words])
    assert status == 2
    failure = document["failure"]
    assert failure["kind"] == "user" and message in failure["message"] and "\n" not in failure["message"]


def test_an_error_of_ours_exits_1_and_keeps_standard_output_to_the_document(call, coco_files, monkeypatch):
    def broken(*args):
        print("noise from a library")
        os.write(1, b"noise from C\n")
        raise RuntimeError("the parts do not fit")

    monkeypatch.setattr("detection_core.operations.score.coco_metrics", broken)
    status, document = call("evaluate", "--ground-truth", coco_files[0], "--predictions", coco_files[1])
    assert status == 1
    assert document == {"failure": {"kind": "system", "message": "RuntimeError: the parts do not fit; the log has the details"}}


def test_run_prints_the_failure_of_a_bad_spec(call, tmp_path):
    (tmp_path / "spec.json").write_text('{"kind": "probe", "colour": "red"}')
    status, document = call("run", tmp_path / "spec.json", "--out", tmp_path / "out")
    assert status == 2 and document["kind"] == "user" and "field 'colour' is not known" in document["message"]


def test_a_job_with_inputs_by_hash_runs_in_a_fresh_process(tmp_path, coco_files):
    import hashlib

    files = {}
    (tmp_path / "inputs").mkdir()
    for name, path in zip(("ground_truth", "predictions"), coco_files, strict=True):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(tmp_path / "inputs" / digest)
        files[name] = {"sha256": digest, "name": path.name}
    (tmp_path / "spec.json").write_text(json.dumps({"kind": "score", **files}))
    child = spawn(
        "run", tmp_path / "spec.json", "--out", tmp_path / "out", "--inputs", tmp_path / "inputs", "--lifeline", stdin=subprocess.PIPE
    )
    assert child.wait(timeout=60) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]["ap"] == pytest.approx(1)


def test_a_stopped_training_exits_75_and_goes_on_from_its_state(tmp_path, call):
    data = write_yolo(tmp_path, splits=("train", "val"))
    words = ["train", *MODEL, "--dataset", data, "--epochs", 2000, "--out", tmp_path / "run"]
    child = spawn(*words, "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    events = tmp_path / "run" / "events.jsonl"
    wait_for(lambda: events.is_file() and '"metric"' in events.read_text())
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 75 and json.loads(out) == {"stopped": True}
    assert '"state"' in events.read_text() and not (tmp_path / "run" / "result.json").exists()

    steps = max(json.loads(line).get("step", 0) for line in events.read_text().splitlines())
    (tmp_path / "recipe.json").write_text(json.dumps({"epochs": steps + 2, "eval_every": 1000}))
    words = [
        "train",
        *MODEL,
        "--dataset",
        data,
        "--recipe",
        tmp_path / "recipe.json",
        "--resume",
        tmp_path / "run",
        "--out",
        tmp_path / "on",
    ]
    status, document = call(*words)
    assert status == 0
    first = next(
        event for line in (tmp_path / "on" / "events.jsonl").read_text().splitlines() if (event := json.loads(line))["type"] == "metric"
    )
    assert first["step"] >= steps and document["steps"] > steps


@pytest.mark.parametrize("as_file", [True, False])
def test_a_model_from_elsewhere_is_imported_and_evaluated(call, tmp_path, as_file):
    (tmp_path / "names.txt").write_text("beet\nweed\n\n")
    graph = saved(constant_graph(yolox_outputs()), tmp_path / "given.onnx")
    given = ["--file", graph, "--layout", "yolox", "--name", "given", "--classes", tmp_path / "names.txt" if as_file else "beet, weed"]
    told = ["--class-map", "beet=crop", "--std", "0.5,0.5,0.5", "--nms-thresh", 0.4, "--out", tmp_path / "out"]
    status, imported = call("import-model", *given, *told)
    assert status == 0 and imported["manifest"]["classes"] == ["crop", "weed"]
    assert (imported["manifest"]["input"]["std"], imported["manifest"]["postprocessing"]["nms_thresh"]) == ([0.5, 0.5, 0.5], 0.4)
    status, found = call("evaluate", "--artifact", imported["path"], "--dataset", write_yolo(tmp_path))
    assert status == 0 and found["manifest"]["model"] == "given"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--classes", "names.txt"], "there is no file names.txt with class names"),
        (["--classes", "a,b", "--class-map", "a"], "--class-map is 'a'; write it as FILE_NAME=DATA_SET_NAME"),
        (["--classes", "a,b", "--mean", "1,2"], "--mean is '1,2'; give three numbers"),
        (["--classes", "a,b", "--layout", "ssd"], "layout"),
    ],
)
def test_an_import_of_a_model_that_is_told_wrongly_ends_with_a_sentence(call, tmp_path, words, sentence):
    given = ["--file", tmp_path / "given.onnx", "--layout", "yolox", "--name", "given", "--out", tmp_path / "out"]
    status, document = call("import-model", *given, *words)
    assert status == 2 and sentence in document["failure"]["message"]


def wait_for(condition, *, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
