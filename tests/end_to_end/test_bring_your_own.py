"""What was made elsewhere, on a real stack: a model from a file, a file of detections, a job that ran with no server."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from rich.console import Console

from benchmarks.evidence.browser import import_archive
from tests.axe import violations
from tests.data_at_hand import data_folder
from tests.end_to_end.conftest import WAIT_S, done, train_spec
from tests.end_to_end.test_same_number_without_a_server import library
from webapp.client.api import Client, Job
from webapp.client.watch import watch_suite

pytestmark = pytest.mark.browser
LEAST_AP = 34.0
# What the model's list calls otherwise than COCO does.
OTHER_NAMES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


@pytest.fixture(scope="module")
def coco_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 33 photographs of COCO 2017 that are at hand, as a person would pack them."""
    folder = data_folder("coco-mini")
    path = tmp_path_factory.mktemp("coco-mini") / "coco-mini.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("annotations", "train2017", "val2017"):
            tar.add(folder / name, arcname=name)
    return path


def photographs_that_are_only_listed() -> re.Pattern[str]:
    """Match the name of any file that the annotations list and the folder does not hold."""
    folder, names = data_folder("coco-mini"), []
    for split in ("train2017", "val2017"):
        listed = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())["images"]
        names += [image["file_name"] for image in listed if not (folder / split / image["file_name"]).exists()]
    return re.compile("|".join(map(re.escape, names)))


def number_under(page: Page, words: str) -> float:
    """Read a large number of a result's page."""
    return float(page.locator(".big-number", has_text=words).first.locator("b").inner_text().split()[0])


def test_yolox_nano_is_brought_in_and_measured_without_a_line_of_code(logged_in: Page, api: Client, coco_mini: Path):
    weights = data_folder("weights") / "yolox-nano"
    page = logged_in
    import_archive(page, coco_mini, name="coco-mini")
    expect(page.locator("section[aria-labelledby=health]")).to_contain_text(photographs_that_are_only_listed())
    page.goto("/models")
    page.get_by_role("link", name="Bring your own").click()
    page.get_by_label("Model file").set_input_files(weights / "yolox_nano.onnx")
    page.get_by_label("YOLOX").check()
    page.get_by_label("Class names").fill((weights / "coco_classes.txt").read_text())
    page.get_by_label("Class mapping").fill("\n".join(f"{theirs} = {ours}" for theirs, ours in OTHER_NAMES.items()))
    page.get_by_label("Licence").fill("Apache-2.0")
    page.get_by_label("Evaluate and time it as well").check()
    choices = page.get_by_label("Data set", exact=True)
    label = next(text for text in choices.locator("option").all_inner_texts() if text.startswith("coco-mini"))
    choices.select_option(label=label)
    page.get_by_label("Measure on").select_option("val")
    assert violations(page) == []
    page.get_by_role("button", name="Import the model").click()
    page.wait_for_url(re.compile(r"/suites/[0-9a-f-]{36}"), timeout=WAIT_S * 1000)
    suite = watch_suite(api, page.url.rsplit("/", 1)[-1], Console(stderr=True))
    assert [(job.kind, job.state, job.failure_message) for job in suite.jobs if job.state != "succeeded"] == []
    (row,) = api.results(suite=suite.uuid, show="all")
    page.goto(f"/results/{row.uuid}")
    expect(page.get_by_role("heading", name="yolox-nano").or_(page.get_by_role("heading", name="yolox_nano"))).to_be_visible()
    assert number_under(page, "AP, COCO AP@[.5:.95]") >= LEAST_AP
    assert number_under(page, "p50 latency") > 0
    page.goto("/jobs/new?kind=benchmark")
    assert any("from elsewhere" in text for text in page.get_by_label("Model file").locator("option").all_inner_texts())


@pytest.fixture(scope="module")
def coco_sha256(api: Client, coco_mini: Path) -> str:
    """The same photographs, imported by the API."""
    done(api, api.import_dataset("coco-mini-again", path=coco_mini))
    return api.datasets("coco-mini-again")[0]["versions"][0]["artifact_sha256"]


@pytest.mark.parametrize(
    ("file", "layout", "names", "role", "backend", "least"),
    [
        ("nanodet-m/nanodet_m_320.onnx", "nanodet", "nanodet-m/coco_classes.txt", "exported_model", "onnxruntime", 0.28),
        ("fastestdet/FastestDet.onnx", "fastestdet", "fastestdet/coco.names", "exported_model", "onnxruntime", 0.22),
        ("fastestdet/weight_AP05_0.253207_280-epoch.pth", "fastestdet", "fastestdet/coco.names", "checkpoint_best", "eager", 0.22),
    ],
    ids=["nanodet", "fastestdet onnx", "fastestdet weights"],
)
def test_other_known_models_are_as_accurate_as_they_should_be(api: Client, coco_sha256: str, file, layout, names, role, backend, least):
    weights = data_folder("weights")
    classes = (weights / names).read_text().split("\n")
    suite = api.import_model(
        weights / file,
        layout=layout,
        name=f"{layout}-{backend}",
        classes=[name.strip() for name in classes if name.strip()],
        class_map=OTHER_NAMES,
    )
    model = output(api, done(api, suite.jobs[0]), role)
    spec = {"kind": "evaluate", "artifact": {"sha256": model}, "backend": backend, "dataset": {"sha256": coco_sha256}, "split": "val"}
    job = done(api, api.submit_job(spec))
    (row,) = (row for row in api.results(show="all") if row.model == f"{layout}-{backend}")
    assert row.data["family"] == layout
    assert row.ap == api.call("GET", f"/jobs/{job.uuid}")["result"]["metrics"]["ap"] >= least


@pytest.fixture(scope="module")
def evaluated(api: Client, small_dataset: str) -> Job:
    """The evaluation of a small checkpoint on test."""
    training = done(api, api.submit_job(train_spec(small_dataset)))
    best = output(api, training, "checkpoint_best")
    spec = {"kind": "evaluate", "artifact": {"sha256": best}, "backend": "eager", "dataset": {"sha256": small_dataset}, "split": "test"}
    return done(api, api.submit_job(spec))


def output(api: Client, job: Job, role: str) -> str:
    return next(file["sha256"] for file in api.call("GET", f"/jobs/{job.uuid}")["outputs"] if file["role"] == role)


def test_a_spec_run_with_no_server_comes_back_as_a_bundle_with_the_same_ap_and_a_mark(
    logged_in: Page, api: Client, evaluated: Job, tmp_path: Path
):
    spec = api.call("GET", f"/jobs/{evaluated.uuid}/spec")
    (tmp_path / "inputs").mkdir()
    for name in ("artifact", "dataset"):
        api.download(spec[name]["sha256"], tmp_path / "inputs" / spec[name]["sha256"])
        spec[name]["url"] = None  # so that nothing can be fetched
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    library("run", "spec.json", "--out", "out", "--inputs", "inputs", cwd=tmp_path)
    library("bundle", "out", "--spec", "spec.json", "--out", "result.tar", cwd=tmp_path)
    page = logged_in
    page.goto("/bundles/new")
    assert violations(page) == []
    page.get_by_label("Bundle", exact=True).set_input_files(tmp_path / "result.tar")
    page.get_by_role("button", name="Bring it in").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"), timeout=WAIT_S * 1000)
    expect(page.get_by_text("offline, measured on").first).to_be_visible()
    job = api.job(page.url.rsplit("/", 1)[-1])
    found = api.call("GET", f"/jobs/{job.uuid}")["result"]["metrics"]
    assert found == api.call("GET", f"/jobs/{evaluated.uuid}")["result"]["metrics"]
    assert api.bring_bundle(tmp_path / "result.tar").uuid == job.uuid
    rows = [row for row in api.results(show="all") if row.data["origin"]]
    assert [row.ap for row in rows] == [found["ap"]]
    page.goto(f"/results/{rows[0].uuid}")
    expect(page.get_by_text("offline, measured on").first).to_be_visible()


def test_a_file_of_detections_has_the_ap_of_the_evaluation_that_wrote_it(
    logged_in: Page, api: Client, evaluated: Job, small_dataset: str, tmp_path: Path
):
    file = api.download(output(api, evaluated, "detections"), tmp_path / "detections.json.gz")
    page = logged_in
    page.goto("/jobs/new")
    page.get_by_role("link", name="Score a results file").click()
    page.get_by_label("Results file").set_input_files(file)
    choices = page.get_by_label("Ground truth", exact=True)
    label = next(text for text in choices.locator("option").all_inner_texts() if text.startswith("small-fields"))
    choices.select_option(label=label)
    assert violations(page) == []
    page.get_by_role("button", name="Score the file").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"), timeout=WAIT_S * 1000)
    job = done(api, api.job(page.url.rsplit("/", 1)[-1]))
    wanted = api.call("GET", f"/jobs/{evaluated.uuid}")["result"]["metrics"]["ap"]
    assert api.call("GET", f"/jobs/{job.uuid}")["result"]["metrics"]["ap"] == pytest.approx(wanted, abs=5e-4)
    expect(page.get_by_text("A results file has no latency").first).to_be_visible(timeout=20_000)
    assert number_under(page, "AP, COCO AP@[.5:.95]") == pytest.approx(100 * wanted, abs=0.1)
