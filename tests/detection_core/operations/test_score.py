"""Score as a job."""

from __future__ import annotations

import gzip
import json

import pytest
from PIL import Image

from detection_core.data.canonical import write_canonical
from detection_core.data.edits import apply_edits
from detection_core.evaluation.coco_metrics import coco_metrics
from detection_core.operations import accuracy
from detection_core.operations.context import file_sha256
from detection_core.operations.score import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import Audit, ScoreResult
from detection_core.schemas.specs import DatasetEdits, ScoreSpec
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
    told = "3 detections are on images of other splits than test and val, which chooses the threshold; they do not count"
    assert told in warnings(job)


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


@pytest.fixture
def own_coco(tmp_path):
    """A COCO data set whose ids are not ours: images numbered against the order of their names, categories 7 and 3."""
    folder = tmp_path / "theirs"
    names = {7: "weed", 3: "crop"}
    for split, first in (("train", 500), ("val", 40), ("test", 40)):  # val and test use the same ids for different images
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for place in range(6):
            image = first - place
            file = f"{split}_{place}.png"
            Image.new("RGB", (64, 64), (first % 255, 40 * place, 30 * len(split))).save(folder / split / file)
            images.append({"id": image, "file_name": file, "width": 64, "height": 64})
            box = [4 + 3 * place, 5, 20, 12 + place]
            entry = {"image_id": image, "category_id": 3 if place % 2 else 7, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **entry})
        categories = [{"id": number, "name": name} for number, name in names.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / split / f"instances_{split}.json").write_text(json.dumps(document))
    return folder


def theirs(own_coco, split):
    """Detections on every object of a split in the ids of its own annotation file."""
    annotations = json.loads((own_coco / split / f"instances_{split}.json").read_text())["annotations"]
    return [{name: entry[name] for name in ("image_id", "category_id", "bbox")} | {"score": 0.5} for entry in annotations]


def test_detections_in_the_ids_of_ones_own_annotations_are_scored_right(own_coco, job, tmp_path):
    result = run(on_dataset(own_coco, tmp_path, theirs(own_coco, "test"), split="test"), job)
    assert result.metrics.ap == pytest.approx(1) and [entry.ap for entry in result.per_class] == pytest.approx([1, 1])


def test_ones_own_ids_are_known_after_the_import_and_its_edits(own_coco, job, tmp_path):
    dataset = job.dataset(InputFile(ref=str(own_coco)))
    edited = apply_edits(dataset, DatasetEdits(rename={"weed": "crop"}))
    write_canonical(edited, tmp_path / "dataset.tar")
    result = run(on_dataset(tmp_path / "dataset.tar", tmp_path, theirs(own_coco, "test"), split="test"), job)
    assert result.metrics.ap == pytest.approx(1) and [entry.name for entry in result.per_class] == ["crop"]


def test_detections_in_the_ids_of_the_export_are_scored_right_too(own_coco, job, tmp_path):
    dataset = job.dataset(InputFile(ref=str(own_coco)))
    result = run(on_dataset(own_coco, tmp_path, perfect(dataset, ["test"]), split="test"), job)
    assert result.metrics.ap == pytest.approx(1)


def renumbered(own_coco):
    """Make the ids of the annotations such that they could be those of the export as well, and mean other images there."""
    for path in own_coco.glob("*/instances_*.json"):
        content = json.loads(path.read_text())
        first = {"test": 1, "train": 7, "val": 13}[path.parent.name]
        number = {image["id"]: first + 5 - place for place, image in enumerate(content["images"])}
        for image in content["images"]:
            image["id"] = number[image["id"]]
        for entry in content["annotations"]:
            entry |= {"image_id": number[entry["image_id"]], "category_id": {3: 1, 7: 2}[entry["category_id"]]}
        content["categories"] = [{"id": 1, "name": "crop"}, {"id": 2, "name": "weed"}]
        path.write_text(json.dumps(content))


def test_ids_that_could_be_both_are_asked_for_and_not_guessed(own_coco, job, tmp_path):
    renumbered(own_coco)
    rows = theirs(own_coco, "test")
    with pytest.raises(InvalidInput, match=r"dt\.json: its ids can be those of .*say which they are \(field 'ids': source or export\)"):
        run(on_dataset(own_coco, tmp_path, rows, split="test"), job)
    assert run(on_dataset(own_coco, tmp_path, rows, split="test", ids="source"), job).metrics.ap == pytest.approx(1)
    assert run(on_dataset(own_coco, tmp_path, rows, split="test", ids="export"), job).metrics.ap < 0.5


def test_a_data_set_that_was_not_coco_has_no_ids_of_its_own(data, job, tmp_path):
    with pytest.raises(InvalidInput, match=r"field 'ids': the data set was not read from COCO annotations.*use export"):
        run(on_dataset(data, tmp_path, [], ids="source"), job)


def test_a_val_split_without_objects_chooses_no_threshold(own_coco, job, tmp_path):
    path = own_coco / "val" / "instances_val.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    dataset = job.dataset(InputFile(ref=str(own_coco)))
    loud = [{"image_id": dataset.split("val")[0].image_id, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.97}]
    result = run(on_dataset(own_coco, tmp_path, perfect(dataset, ["test"]) + loud, split="test", ids="export"), job)
    assert (result.accuracy.operating_point.chosen_on, result.accuracy.operating_point.recall) == ("test", 1)


def test_a_score_of_a_class_that_does_not_count_takes_nothing_from_the_card(spec, job, tmp_path):
    (tmp_path / "dt.json").write_text(json.dumps([{**ANNOTATION, "score": 0.5}, {**ANNOTATION, "category_id": 9, "score": 7.0}]))
    assert run(spec, job).accuracy.operating_point is not None


def test_scores_of_val_beyond_one_are_said_aloud(data, job, tmp_path):
    dataset = job.dataset(InputFile(ref=str(data)))
    rows = perfect(dataset, ["test"], score=0.4) + perfect(dataset, ["val"], score=7.0)
    assert run(on_dataset(data, tmp_path, rows, split="test"), job).accuracy.operating_point is None
    assert any("scores are not 0 to 1" in message for message in warnings(job))


def test_an_absent_split_is_refused_with_the_ones_there_are(job, tmp_path):
    data = write_yolo(tmp_path / "one", splits=("train",))
    with pytest.raises(InvalidInput, match=r"has no test split; it has train"):
        run(on_dataset(data, tmp_path, []), job)
