"""Score as a job."""

from __future__ import annotations

import json

import pytest

from detection_core.operations.score import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import ScoreResult
from detection_core.schemas.specs import ScoreSpec
from tests.detection_core.evaluation.test_coco_files import ANNOTATION, ground_truth


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
