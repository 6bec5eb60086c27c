"""Score as a job."""

from __future__ import annotations

import gzip
import json

import pytest

from detection_core.data.canonical import write_canonical
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.operations import accuracy
from detection_core.operations.context import file_sha256
from detection_core.operations.score import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import Audit, ScoreResult
from detection_core.schemas.specs import ScoreSpec
from tests.detection_core.evaluation.test_coco_files import ANNOTATION, ground_truth
from tests.detection_core.tiny import write_yolo


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth()))
    (tmp_path / "dt.json").write_text(json.dumps([{**ANNOTATION, "score": 0.5}, {**ANNOTATION, "category_id": 9, "score": 0.9}]))
    return ScoreSpec(ground_truth=InputFile(ref=str(tmp_path / "gt.json")), predictions=InputFile(ref=str(tmp_path / "dt.json")))


def test_a_results_file_is_scored_and_audited(spec, job):
    result = run(spec, job)
    assert ScoreResult.parse(result.to_json()) == result
    assert result.metrics.ap == pytest.approx(1) and result.metrics.ap_small is None
    assert (result.images, result.detections) == (1, 2)
    assert result.audit.max_abs_difference == 0 and result.audit.images == 1


def test_detections_of_foreign_classes_are_said_aloud(spec, job):
    run(spec, job)
    assert "1 detections are of classes that the ground truth does not have" in (job.out / "events.jsonl").read_text()


def test_a_missing_predictions_file_is_named(spec, job):
    with pytest.raises(InvalidInput, match=r"there is no file .*none\.json"):
        run(spec.model_copy(update={"predictions": InputFile(ref=str(job.out / "none.json"))}), job)


def warnings(job):
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    return [event["message"] for event in events if event["type"] == "warning"]


def test_a_scored_file_has_a_card_and_the_files_behind_it(spec, job):
    result = run(spec, job)
    assert [file.role for file in result.files] == ["curves", "examples"]
    curves = json.loads(gzip.decompress((job.out / "curves.json.gz").read_bytes()))
    assert curves["bootstrap_key"] == result.accuracy.bootstrap.key
    assert result.accuracy.operating_point.chosen_on == "the same images"
    assert [entry.ap for entry in result.per_class] == [pytest.approx(1)]


def test_scores_beyond_one_still_give_cocos_numbers_but_no_operating_point(spec, job, tmp_path):
    (tmp_path / "dt.json").write_text(json.dumps([{**ANNOTATION, "score": 7.5}]))
    result = run(spec, job)
    assert result.metrics.ap == pytest.approx(1) and result.accuracy.bootstrap.intervals["ap"].low == pytest.approx(1)
    assert result.accuracy.operating_point is None and [file.role for file in result.files] == ["curves"]
    assert any("scores are not 0 to 1" in message for message in warnings(job))


def test_a_difference_between_the_evaluators_is_said_aloud(spec, job, monkeypatch):
    monkeypatch.setattr(accuracy, "audit", lambda *case: Audit(engine="pycocotools 2.0.11", images=3, max_abs_difference=0.01))
    assert run(spec, job).audit.max_abs_difference == 0.01
    assert any("pycocotools 2.0.11 differs from hotcoco 1.3.0 by 0.01" in message for message in warnings(job))


@pytest.fixture
def data(tmp_path):
    return write_yolo(tmp_path, splits=("train", "val", "test"))


def on_dataset(data, tmp_path, rows, **changes):
    (tmp_path / "dt.json").write_text(json.dumps(rows))
    predictions = InputFile(ref=str(tmp_path / "dt.json"))
    return ScoreSpec(dataset=InputFile(ref=str(data)), predictions=predictions, **changes)


def perfect(dataset, splits, *, score=0.5, by="image_id"):
    """A detection on every object of these splits, with the ids of the COCO export or with file names."""
    truth = dataset.coco([record for split in splits for record in dataset.split(split)])
    names = {image["id"]: {"image_id": image["id"], "file_name": image["file_name"]}[by] for image in truth["images"]}
    return [
        {by: names[entry["image_id"]], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": score}
        for entry in truth["annotations"]
    ]


@pytest.mark.parametrize("by", ["image_id", "file_name"])
def test_a_file_is_scored_on_a_split_by_image_id_or_by_file_name(data, job, tmp_path, by):
    dataset = job.dataset(InputFile(ref=str(data)))
    result = run(on_dataset(data, tmp_path, perfect(dataset, ["test"], by=by), split="test"), job)
    assert result.metrics.ap == pytest.approx(1)
    assert (result.images, result.detections, result.split, result.dataset_sha256) == (3, 3, "test", dataset.content_hash)
    assert result.accuracy.operating_point.chosen_on == "test"


def test_a_data_set_named_by_its_hash_is_scored_alike(data, job, tmp_path):
    dataset = job.dataset(InputFile(ref=str(data)))
    write_canonical(dataset, tmp_path / "dataset.tar")
    job.inputs.mkdir()
    digest = file_sha256(tmp_path / "dataset.tar")
    (tmp_path / "dataset.tar").rename(job.inputs / digest)
    spec = on_dataset(data, tmp_path, perfect(dataset, ["val"]), split="val")
    assert run(spec.model_copy(update={"dataset": InputFile(sha256=digest, name="dataset.tar")}), job).metrics.ap == pytest.approx(1)


def test_detections_on_val_choose_the_threshold_and_those_of_other_splits_do_not_count(data, job, tmp_path):
    dataset = job.dataset(InputFile(ref=str(data)))
    rows = perfect(dataset, ["test"], score=0.4) + perfect(dataset, ["val"], score=0.8) + perfect(dataset, ["train"], score=0.9)
    result = run(on_dataset(data, tmp_path, rows, split="test"), job)
    point = result.accuracy.operating_point
    assert point.chosen_on == "val" and point.score_thresh == 0.8 and point.true_positives == 0
    alone, _ = coco_metrics(dataset.coco(dataset.split("test")), perfect(dataset, ["test"], score=0.4))
    assert result.detections == 3 and result.metrics == alone
    assert "6 detections are on images of other splits than test; they do not count" in warnings(job)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"image_id": 99}, r"dt\.json: entry 0 has image_id 99, which is not in data set 'yolo'"),
        ({"file_name": "moon.png"}, r"dt\.json: entry 0 has file_name 'moon\.png', which names no one image of data set 'yolo'"),
    ],
)
def test_detections_on_an_image_that_the_data_set_lacks_are_refused_by_name(data, job, tmp_path, entry, words):
    with pytest.raises(InvalidInput, match=words):
        run(on_dataset(data, tmp_path, [{**entry, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]), job)


def test_an_absent_split_is_refused_with_the_ones_there_are(job, tmp_path):
    data = write_yolo(tmp_path / "one", splits=("train",))
    with pytest.raises(InvalidInput, match=r"has no test split; it has train"):
        run(on_dataset(data, tmp_path, []), job)
