"""What a child tells becomes rows: no more often than needed, nothing twice, nothing lost while the database is away."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from tests.webapp.jobs_services.helpers import running
from webapp.artifacts.models import Artifact
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.selectors import log_text
from workers import telling
from workers.telling import Teller

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job() -> Job:
    return running("heavy")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def teller(job: Job, out: Path) -> Teller:
    return Teller(job, out=out, log=out.parent / "log")


def tell(out: Path, *events: dict[str, Any]) -> None:
    with (out / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"time": 0.0, **event}) + "\n" for event in events)


def told(job: Job, type: str) -> list[dict[str, Any]]:
    return list(JobEvent.objects.filter(job=job, type=type).order_by("seq").values_list("data", flat=True))


def metric(epoch: float, **values: float) -> dict[str, Any]:
    return {"type": "metric", "step": int(epoch * 10), "epoch": epoch, "values": values}


def test_of_many_steps_one_point_is_kept_and_the_end_of_an_epoch_at_once(teller, job, out):
    tell(out, metric(0.1, loss=3.0))
    teller.tell()
    tell(out, metric(0.2, loss=2.9), metric(0.3, loss=2.8))
    teller.tell()
    assert [point["epoch"] for point in told(job, "metric")] == [0.1]
    tell(out, metric(1.0, ap=0.4))
    teller.tell()
    assert told(job, "metric")[1:] == [{"step": 10, "epoch": 1.0, "values": {"loss": 2.8, "ap": 0.4}}]


def test_the_last_point_is_told_at_the_end(teller, job, out):
    tell(out, metric(0.1, loss=3.0), metric(0.2, loss=2.5))
    teller.tell(all_of_it=True)
    assert told(job, "metric")[-1]["values"] == {"loss": 2.5}


def test_progress_is_written_in_place_at_most_once_a_second(teller, job, out):
    for fraction in (0.1, 0.2):
        tell(out, {"type": "progress", "fraction": fraction, "message": "epoch 1"})
        teller.tell()
    assert Job.objects.get().progress == {"fraction": 0.1, "message": "epoch 1", "eta_s": None}
    teller.tell(all_of_it=True)
    assert Job.objects.get().progress["fraction"] == 0.2
    assert not told(job, "progress")


def test_half_a_line_waits_for_its_end_and_a_broken_line_is_passed_over(teller, job, out):
    line = json.dumps({"type": "warning", "time": 0.0, "message": "one image skipped"})
    (out / "events.jsonl").write_text("no json\n" + line[:10])
    teller.tell()
    with (out / "events.jsonl").open("a") as file:
        file.write(line[10:] + "\n")
    teller.tell()
    assert told(job, "warning") == [{"message": "one image skipped"}]


def test_too_many_warnings_end_with_one_that_says_so(teller, job, out):
    tell(out, *({"type": "warning", "message": f"image {number}"} for number in range(500)))
    teller.tell()
    warnings = told(job, "warning")
    assert len(warnings) == 100 and warnings[-1]["message"].startswith("there are more warnings")


def test_a_state_is_kept_even_if_the_child_replaces_it_before_it_was_read(teller, job, out, monkeypatch):
    def save(text: str) -> str:
        part = out / "part"
        part.write_text(text)
        part.replace(out / "state.tar")
        digest = hashlib.sha256(text.encode()).hexdigest()
        tell(out, {"type": "state", "file": {"role": "training_state", "path": "state.tar", "sha256": digest, "size": len(text)}})
        return digest

    monkeypatch.setattr(telling, "job_state_saved", away)
    first = save("epoch 1")
    teller.try_to_tell()
    second = save("epoch 2")
    monkeypatch.undo()
    kept: list[str] = []
    monkeypatch.setattr(telling, "job_state_saved", lambda **saved: kept.append(saved["artifact"].sha256))
    teller.tell()
    assert kept == [first, second]
    assert Artifact.objects.filter(kind="training_state").count() == 2


def away(**_: Any) -> None:
    raise OperationalError("the database is away")


def test_while_the_database_is_away_events_wait_in_order(teller, job, out, monkeypatch):
    monkeypatch.setattr(telling, "job_event_add", away)
    tell(out, {"type": "warning", "message": "first"})
    teller.try_to_tell()
    tell(out, {"type": "warning", "message": "second"})
    teller.try_to_tell()
    monkeypatch.undo()
    teller.tell()
    assert [warning["message"] for warning in told(job, "warning")] == ["first", "second"]


def test_the_log_is_kept_byte_for_byte_across_cut_characters(teller, job, out, monkeypatch):
    monkeypatch.setattr(telling, "LOG_SECONDS", 0.0)
    log = out.parent / "log"
    content = "één\x00 lijn ✓\n".encode()
    for cut in range(0, len(content), 3):
        with log.open("ab") as file:
            file.write(content[cut : cut + 3])
        teller.tell()
    teller.tell(all_of_it=True)
    assert log_text(job) == "één\ufffd lijn ✓\n"


def test_a_log_without_end_is_cut_and_says_so(teller, job, out, monkeypatch):
    monkeypatch.setattr(telling, "MOST_LIVE_LOG", 1000)
    (out.parent / "log").write_text("x" * 70_000 + "\n" + "y" * 70_000)
    teller.tell(all_of_it=True)
    assert log_text(job).endswith("the rest of the log is in the file that is kept at the end of the job\n")
    assert "y" not in log_text(job).split("…")[0]


def test_sample_predictions_are_told_with_their_step_and_epoch(teller, job, out):
    examples = {"version": 1, "classes": ["weed"], "score_thresh": 0.3, "score_floor": 0.3, "iou": 0.5, "images": []}
    tell(out, {"type": "samples", "step": 20, "epoch": 2.0, "examples": examples})
    teller.tell()
    assert told(job, "samples") == [{"step": 20, "epoch": 2.0, "examples": examples}]


def test_samples_that_point_at_a_class_that_is_not_there_are_passed_over(teller, job, out):
    truth = [{"box": [0, 0, 9, 9], "label": 1, "crowd": False, "size": "small", "score": None}]
    image = {"id": 1, "file": "a.png", "width": 64, "height": 48, "group": None, "truth": truth, "detections": []}
    examples = {"version": 1, "classes": ["weed"], "score_thresh": 0.3, "score_floor": 0.3, "iou": 0.5, "images": [image]}
    tell(out, {"type": "samples", "step": 20, "epoch": 2.0, "examples": examples})
    teller.tell()
    assert told(job, "samples") == []
