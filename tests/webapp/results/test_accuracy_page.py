"""What stands behind an AP: on the page of its result and on a page of its own, also for a scored file."""

from __future__ import annotations

import gzip
import re
import uuid

import pytest

from tests.accuracy_factories import card_of, draws_around, give_accuracy, give_curves
from tests.factories import make_dataset_version, make_job, make_result, metrics_of
from tests.own_folders import own_folders
from webapp.artifacts.services import artifact_put_stream
from webapp.jobs.models import JobOutput
from webapp.jobs.states import State
from webapp.results import accuracy
from webapp.results.accuracy import accuracy_of, pr_lines

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db


def scored_job(classes: list[str]):
    result = {
        "kind": "score",
        "metrics": metrics_of(0.31),
        "per_class": [{"name": name, "ap": 0.3, "ap50": 0.5, "ground_truths": 12} for name in classes],
        "images": 20,
        "detections": 800,
        "engine": "hotcoco 1.3.0",
        "audit": {"engine": "pycocotools 2.0.11", "images": 20, "max_abs_difference": 0.0},
        "accuracy": card_of(0.31, classes, chosen_on="test"),
    }
    return make_job("score", state=State.SUCCEEDED, spec={"name": "theirs"}, title="theirs", result=result)


def test_a_result_page_shows_the_interval_and_the_operating_point(client):
    row = give_accuracy(make_result(ap=0.42))
    page = client.get(f"/results/{row.uuid}").content.decode()
    assert "95% intervals from 400 draws of 72 images" in page
    assert ">39.0<" in page and ">45.0<" in page
    assert "0.412" in page and "recall of 37 small objects" in page
    assert "D-ECE" in page and "Where it goes wrong" in page
    assert page.count("<polyline") == len(row.dataset_version.classes)


@pytest.mark.parametrize(("split", "flattered"), [("test", False), ("val", True)])
def test_a_threshold_chosen_on_the_judged_images_is_said_to_flatter(client, split, flattered):
    page = client.get(f"/results/{give_accuracy(make_result(ap=0.42, split=split)).uuid}").content.decode()
    assert "largest F1 on val" in page
    assert ("chosen on the images it is judged on, which flatters" in page) is flattered


def cells(page: str, heading: str) -> list[list[str]]:
    """The texts of the body's cells of the table under a heading, row by row."""
    table = re.search(rf'<h2 id="{heading}">.*?<tbody>(.*?)</tbody>', page, re.S)[1]
    return [list(map(text, re.findall(r"<t[hd].*?</t[hd]>", row, re.S))) for row in re.findall(r"<tr.*?</tr>", table, re.S)]


def text(cell: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", cell).split())


def test_every_table_of_the_card_holds_the_cards_numbers(client):
    row = give_accuracy(make_result(ap=0.42))
    page = client.get(f"/results/{row.uuid}").content.decode()
    numbers = set(map(text, re.findall(r'class="big-number"><b>(.*?)</b>', page)))
    assert {"0.412", "75.0 %", "70.0 %", "72.4", "0.19", "51.0 %"} <= numbers
    assert cells(page, "intervals")[0] == ["AP", "42.0", "39.0", "45.0"]
    assert [line[0] for line in cells(page, "classes")] == ["WBC", "RBC", "Platelets"]
    assert cells(page, "classes")[0][4:] == ["75.0", "70.0", "72.4"]
    assert cells(page, "confusion")[0] == ["Platelets", "21", "2", "2", "2"] and cells(page, "confusion")[3][0] == "background"
    errors = {line[0].split(" ")[0]: line[1:3] for line in cells(page, "errors")}
    assert errors["Loose"] == ["11", "5.0"] and errors["Miss"] == ["18", "8.0"] and len(errors) == 6
    assert "11.3" in page and cells(page, "calibration")[0] == ["0.1 to 0.2", "10", "15.0", "60.0"]


def test_an_evaluation_without_a_card_still_has_its_page(client):
    row = make_result(ap=0.42)
    page = client.get(f"/results/{row.uuid}").content.decode()
    assert "By class" in page and "95% intervals" not in page


def test_a_scored_file_has_a_page_that_says_why_it_is_on_no_board(client):
    job = scored_job(["crop", "weed"])
    give_curves(job, ["crop", "weed"], [0.3, 0.31])
    page = client.get(f"/evaluations/{job.uuid}").content.decode()
    assert "no model was run here" in page and ">31.0<" in page
    assert "chosen on the images it is judged on, which flatters" in page
    assert 'class="flag">few<' in page


def test_a_storage_that_fails_once_is_asked_again(client, monkeypatch):
    row = give_accuracy(make_result(ap=0.42), draws=draws_around(0.42, seed=77))  # a file that no other test has read
    with monkeypatch.context() as broken:
        broken.setattr(accuracy, "artifact_open", raise_timeout)
        assert "pr-line" not in client.get(f"/results/{row.uuid}").content.decode()
    assert "pr-line" in client.get(f"/results/{row.uuid}").content.decode()


def raise_timeout(artifact):
    raise TimeoutError("the storage does not answer")


@pytest.mark.parametrize(
    "damaged",
    [b"\x1f\x8b\x08", gzip.compress(b"{}")[:-4], gzip.compress(b"{" + b" " * 99)[:12] + b"\xff" * 30],
    ids=["the beginning", "without its end", "garbled"],
)
def test_a_damaged_file_of_curves_is_no_crash(client, damaged):
    row = give_accuracy(make_result(ap=0.42))
    artifact = artifact_put_stream(chunks=[damaged], kind="curves", name="curves.json.gz", max_bytes=99)
    JobOutput.objects.filter(job=row.evaluation.job, role="curves").update(artifact=artifact)
    for address in (f"/results/{row.uuid}", f"/evaluations/{row.evaluation.job.uuid}", f"/compare?results={row.uuid}"):
        assert client.get(address).status_code == 200


def test_an_unknown_or_unfinished_job_has_no_accuracy(client):
    unfinished = make_job("evaluate", state=State.RUNNING)
    assert client.get(f"/evaluations/{unfinished.uuid}").status_code == 404
    assert client.get(f"/evaluations/{uuid.uuid4()}").status_code == 404


def test_both_evaluators_numbers_are_shown_where_they_differ(client):
    row = give_accuracy(make_result(ap=0.42))
    first, second = metrics_of(0.42), metrics_of(0.42) | {"ap": 0.42 + 2e-6}
    row.evaluation.result["audit"] = {
        "engine": "pycocotools 2.0.11",
        "images": 72,
        "max_abs_difference": 2e-6,
        "first": first,
        "second": second,
    }
    row.evaluation.save()
    page = client.get(f"/results/{row.uuid}").content.decode()
    assert "0.42000000" in page and "0.42000200" in page


def test_many_classes_are_told_by_their_commonest_mistakes():
    classes = [f"class {number}" for number in range(40)]
    counts = [[0] * 41 for _ in range(41)]
    counts[3][7], counts[40][5], counts[9][9] = 12, 30, 99
    result = {"metrics": metrics_of(0.4), "accuracy": {"confusion": {"classes": classes, "counts": counts}}}
    found = accuracy_of(result, None)
    assert found.confusion == []
    assert found.mistakes == [("background", "class 5", 30), ("class 3", "class 7", 12)]


def test_many_classes_share_one_curve_their_mean():
    recall = [0.0, 0.5, 1.0]
    precision = {f"class {number}": [1.0, number / 10, 0.0] for number in range(8)} | {"absent": [None, None, None]}
    lines = pr_lines({"recall": recall, "precision": precision})
    assert [line.title for line in lines] == ["mean of 8 classes"]
    assert lines[0].points == "0.0,0.0 160.0,143.0 320.0,220.0"


def test_the_version_of_the_data_is_found_by_its_content(client):
    version = make_dataset_version()
    job = scored_job(["crop", "weed"])
    job.result["dataset_sha256"] = version.content_hash
    job.save()
    assert f"/datasets/{version.dataset.uuid}" in client.get(f"/evaluations/{job.uuid}").content.decode()
