"""The file `examples`: what a page reads of every image, and that it agrees with the operating point and with TIDE."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import numpy as np
import pytest

from detection_core.evaluation import examples as module
from detection_core.evaluation.errors import error_shares
from detection_core.evaluation.examples import few_examples, score_floor, write_examples
from detection_core.evaluation.operating_point import operating_point
from detection_core.schemas.events import Event, EventWriter
from tests.detection_core.evaluation.cases import found, generated, truth

BOX = (100, 100, 50, 50)
FAR = (400, 300, 150, 120)
TINY = (10.04, 10.26, 20, 20)
CROWD = (0, 400, 100, 80)


def written(path, ground_truth, rows, *, groups=None, score_thresh=0.5):
    write_examples(path, ground_truth, rows, groups=groups or {}, score_thresh=score_thresh)
    return json.loads(gzip.decompress(path.read_bytes()))


def test_the_floor_rises_where_too_many_detections_would_be_kept_but_never_to_the_operating_point(monkeypatch):
    scores = np.array([0.06, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert score_floor(scores, 0.5) == 0.05 and score_floor(scores, 0.02) == 0.01
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    assert score_floor(scores, 0.5) == 0.2  # 0.3, 0.4 and 0.5 stay
    assert 0.19 < score_floor(scores, 0.2) < 0.2  # all of the operating point stay


def test_an_image_is_written_with_its_objects_and_detections_and_what_became_of_each(tmp_path):
    ground_truth = truth([(2, 1, BOX, 0), (2, 2, FAR, 0), (2, 1, CROWD, 1), (1, 1, TINY, 0)], images=2, classes=2)
    for image in ground_truth["images"]:
        image["file_name"] = f"images/{image['id']}.png"
    rows = found((2, 1, (101, 100, 50, 50), 0.6), (2, 1, BOX, 0.9), (2, 2, BOX, 0.3), (2, 1, (10, 410, 20, 20), 0.2), (2, 1, BOX, 0.05))
    document = written(tmp_path / "e", ground_truth, rows, groups={2: "field 7", 1: None}, score_thresh=0.5)
    assert {key: document[key] for key in ("version", "classes", "score_thresh", "score_floor", "iou")} == {
        "version": 1,
        "classes": ["class 1", "class 2"],
        "score_thresh": 0.5,
        "score_floor": 0.05,
        "iou": 0.5,
    }
    first, second = document["images"]
    assert first == {
        "id": 1,
        "file": "images/1.png",
        "width": 640,
        "height": 480,
        "group": None,
        "truth": [{"box": [10.0, 10.3, 30.0, 30.3], "label": 0, "crowd": False, "size": "small", "score": None}],
        "detections": [],
    }
    assert (second["id"], second["group"]) == (2, "field 7")
    assert second["truth"] == [
        {"box": [100.0, 100.0, 150.0, 150.0], "label": 0, "crowd": False, "size": "medium", "score": 0.9},
        {"box": [400.0, 300.0, 550.0, 420.0], "label": 1, "crowd": False, "size": "large", "score": None},
        {"box": [0.0, 400.0, 100.0, 480.0], "label": 0, "crowd": True, "size": "medium", "score": None},
    ]
    assert [(entry["score"], entry["label"], entry["kind"], entry["truth"]) for entry in second["detections"]] == [
        (0.9, 0, "tp", 0),
        (0.6, 0, "dupe", 0),
        (0.3, 1, "cls", 0),
        (0.2, 0, "ignored", 2),
    ]
    assert second["detections"][3]["box"] == [10.0, 410.0, 30.0, 430.0] and second["detections"][3]["size"] == "small"


def test_sizes_are_by_area_of_the_truth_and_a_border_belongs_to_the_smaller_size(tmp_path):
    ground_truth = truth([(1, 1, BOX, 0)] * 4)
    for entry, area in zip(ground_truth["annotations"], (1024, 1024.1, 9216, 9216.1), strict=True):
        entry["area"] = area
    document = written(tmp_path / "e", ground_truth, found())
    assert [entry["size"] for entry in document["images"][0]["truth"]] == ["small", "medium", "medium", "large"]


def test_an_operating_point_under_the_floor_lowers_the_floor(tmp_path):
    rows = found((1, 1, BOX, 0.02), (1, 1, FAR, 0.01), (1, 1, FAR, 0.011))
    document = written(tmp_path / "e", truth([(1, 1, BOX, 0)]), rows, score_thresh=0.02)
    assert document["score_floor"] == 0.01
    assert [entry["score"] for entry in document["images"][0]["detections"]] == [0.02, 0.011]


@pytest.mark.parametrize("seed", range(10))
def test_counting_in_the_file_above_any_score_gives_the_operating_point_there(seed, tmp_path):
    ground_truth, rows = generated(seed)
    images = written(tmp_path / "e", ground_truth, rows)["images"]
    for score in (0.1, 0.37, 0.5, 0.9):
        point = operating_point(ground_truth, rows, score_thresh=score, chosen_on="val")
        kept = Counter(entry["kind"] for image in images for entry in image["detections"] if entry["score"] >= score)
        objects = [entry for image in images for entry in image["truth"] if not entry["crowd"]]
        hit = [entry for entry in objects if entry["score"] is not None and entry["score"] >= score]
        assert (kept["tp"], len(hit), len(objects)) == (point.true_positives, point.true_positives, point.ground_truths)
        assert kept.total() - kept["tp"] - kept["ignored"] == point.false_positives


@pytest.mark.parametrize("seed", range(10))
def test_kinds_in_the_file_are_those_that_tide_counts(seed, tmp_path):
    ground_truth, rows = generated(seed)
    rows = rows[rows[:, 5] > 0.05]
    images = written(tmp_path / "e", ground_truth, rows)["images"]
    kinds = Counter(entry["kind"] for image in images for entry in image["detections"])
    counts = error_shares(ground_truth, rows).counts
    assert {**{name: kinds[name.lower()] for name in ("Cls", "Loc", "Both", "Dupe", "Bkg")}, "Miss": counts["Miss"]} == counts


def test_suspects_point_at_places_within_their_image(tmp_path):
    ground_truth = truth([(1, 1, TINY, 0), (2, 1, TINY, 0), (2, 1, BOX, 0)], images=2, classes=2)
    rows = found((1, 1, TINY, 0.9), (2, 1, TINY, 0.8), (2, 2, BOX, 0.85), (2, 1, FAR, 0.84))
    document = written(tmp_path / "e", ground_truth, rows, score_thresh=0.4)
    assert [(s["image"], s["kind"], s["detection"], s["truth"], s["score"]) for s in document["suspects"]] == [
        (2, "wrong_class", 0, 1, 0.85),
        (2, "missing_label", 1, None, 0.84),
    ]
    assert all(suspect["words"].endswith(".") for suspect in document["suspects"])


def test_equal_input_gives_equal_bytes_and_nothing_gives_a_file_too(tmp_path):
    ground_truth, rows = generated(5)
    written(tmp_path / "one", ground_truth, rows)
    written(tmp_path / "two", ground_truth, np.ascontiguousarray(rows))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[4:8] == bytes(4)  # gzip's clock
    assert written(tmp_path / "e", truth([], images=0, classes=0), found())["images"] == []


def test_a_few_images_are_told_while_a_detector_learns_with_what_the_file_would_say_of_them(tmp_path):
    ground_truth = truth([(1, 1, BOX, 0), (1, 2, FAR, 0)], images=1, classes=2)
    rows = found((1, 1, BOX, 0.9), (1, 2, BOX, 0.3), (1, 1, FAR, 0.29), (2, 1, BOX, 0.8))
    sample = few_examples(ground_truth, rows, score_thresh=0.3)
    (image,) = sample.images
    assert [(box.label, box.score, box.truth, box.kind) for box in image.detections] == [(0, 0.9, 0, "tp"), (1, 0.3, 0, "cls")]
    assert [box.score for box in image.truth] == [0.9, None]

    EventWriter(tmp_path / "events.jsonl").samples(sample, step=20, epoch=2.0)
    event = Event.parse(json.loads((tmp_path / "events.jsonl").read_text()))
    assert (event.type, event.step, event.epoch, event.examples) == ("samples", 20, 2.0, sample)
