"""The pages that bring something in, in a real browser: accessible, by keyboard, without scripts, and nothing is refused."""

from __future__ import annotations

import pytest
from django.test import Client as Browser

from tests import bundles
from tests.axe import violations, violations_in_both_schemes
from tests.factories import make_dataset_version, make_job, make_result, make_worker, metrics_of
from webapp.artifacts.services import artifact_put
from webapp.jobs.models import Job
from webapp.results.bundles import bundle_import
from webapp.results.models import Result

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
AUDIT = {"engine": "pycocotools 2.0.11", "images": 5, "max_abs_difference": 0.0}
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    """Keep uploads and artifacts of a test to itself."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}}


@pytest.fixture
def cookie(alice) -> str:
    """The session of a browser where Alice is logged in."""
    client = Browser()
    client.force_login(alice)
    return client.cookies["sessionid"].value


@pytest.fixture
def addresses(alice, tmp_path) -> list[str]:
    """Each page that shows something brought in, with what a bundle and a scoring leave."""
    make_worker()
    version = make_dataset_version("fields", classes=bundles.CLASSES)
    own = make_result(dataset_version=version)
    told = {"artifact": own.exported_model.artifact_id, "dataset": version.content_hash, "manifest": own.exported_model.manifest}
    for name, (spec, result) in {"e": bundles.evaluation(**told), "l": bundles.latency(**told)}.items():
        path = bundles.bundle(tmp_path / name, spec, result)
        bundle_import(artifact=artifact_put(path=path, kind="upload", name=path.name), user=alice)
    brought = Result.objects.exclude(origin="").get(p50_ms__isnull=False)
    scored = {"kind": "score", "metrics": metrics_of(0.303), "images": 5, "detections": 1234, "engine": "hotcoco 1.3.0", "audit": AUDIT}
    score = make_job("score", spec={"name": "mine", "predictions": {"name": "d.json"}}, title="mine · fields v1", result=scored)
    return [
        "/models/import",
        "/score",
        "/bundles/new",
        "/models",
        "/jobs",
        "/jobs/new?kind=evaluate",
        "/leaderboard?show=all",
        f"/results/{brought.uuid}",
        f"/jobs/{brought.latency.job.uuid}",
        f"/jobs/{score.uuid}",
        f"/?group={brought.group_key}",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_pages_are_accessible_and_quiet(browser, live_server, cookie, addresses, size):
    context = browser.new_context(viewport=SIZES[size])
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    problems = []
    for address in addresses:
        page.goto(live_server.url + address)
        problems += [f"{address}: {found}" for found in violations_in_both_schemes(page)]
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            problems.append(f"{address}: the page is wider than the screen")
    context.close()
    assert problems == [] and said == []


def test_what_is_wrong_is_told_without_leaving_the_page(page, live_server, cookie, tmp_path):
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    (tmp_path / "m.onnx").write_bytes(b"graph")
    page.goto(live_server.url + "/models/import")
    page.get_by_label("Model file").set_input_files(tmp_path / "m.onnx")
    page.get_by_label("YOLOX").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Import the model").press("Enter")
    alert = page.get_by_role("alert")
    alert.get_by_text("give the class names, or choose the data set").wait_for()
    assert page.get_by_label("YOLOX").is_checked() and violations(page) == []
    page.get_by_label("Class names").fill("crop\nweed")
    page.get_by_role("button", name="Import the model").press("Enter")
    page.wait_for_url("**/jobs/*-*")
    assert Job.objects.get().spec["classes"] == ["crop", "weed"]


def test_a_model_is_brought_in_without_scripts(browser, live_server, cookie, tmp_path):
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    page = context.new_page()
    (tmp_path / "m.onnx").write_bytes(b"graph")
    page.goto(live_server.url + "/models/import")
    page.get_by_label("Model file").set_input_files(tmp_path / "m.onnx")
    page.get_by_role("button", name="Import the model").click()
    assert page.get_by_text("Nothing was queued").is_visible()
    page.get_by_label("Model file").set_input_files(tmp_path / "m.onnx")
    page.get_by_label("NanoDet").check()
    page.get_by_label("Class names").fill("crop")
    page.get_by_role("button", name="Import the model").click()
    page.wait_for_url("**/jobs/*-*")
    assert Job.objects.get().spec["layout"] == "nanodet"
    context.close()
