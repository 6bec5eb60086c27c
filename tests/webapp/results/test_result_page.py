"""One result whole."""

from __future__ import annotations

import uuid

import pytest

from tests.factories import make_checkpoint, make_dataset_version, make_result
from webapp.results.presentation import METRICS, commands, stage_rows


def _page(client, row) -> str:
    answer = client.get(f"/results/{row.uuid}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_the_12_numbers_with_their_meaning(client, db):
    page = _page(client, make_result(ap=0.4))
    for title, meaning in METRICS.values():
        assert title in page
        assert meaning in page
    assert ">40.0<" in page


def test_the_checkpoint_is_one_click_away_with_hash_size_and_licence(client, db):
    row = make_result()
    page = _page(client, row)
    assert f'href="/checkpoints/{row.checkpoint.uuid}/download"' in page
    assert row.checkpoint.artifact_id in page
    assert "21.5 MB" in page
    assert row.checkpoint.licence in page


def test_raw_data_and_the_measured_file_can_be_downloaded(client, db):
    row = make_result()
    page = _page(client, row)
    for digest in (row.exported_model.artifact_id, row.latency.samples_id, row.evaluation.detections_id):
        assert f"/artifacts/{digest}/" in page


def test_stages_stand_in_the_order_of_the_pipeline_and_their_shares_make_a_whole(db):
    row = make_result()
    row.latency.refresh_from_db()
    stages = stage_rows(row.latency)
    assert [stage.name for stage in stages] == ["preprocess", "forward", "postprocess, NMS"]
    assert abs(sum(stage.share for stage in stages) - 100) < 0.2


@pytest.mark.parametrize(("nms_thresh", "words"), [(0.6, "at IoU 0.6, at most 100"), (1.0, "none after the network, at most 100")])
def test_the_page_tells_whether_nms_followed_the_network(client, db, nms_thresh, words):
    row = make_result()
    row.evaluation.protocol |= {"nms_thresh": nms_thresh}
    row.evaluation.save()
    assert words in _page(client, row)


def test_a_flag_is_explained_in_words(client, db):
    page = _page(client, make_result(flags=("disturbed",)))
    assert "other processes used more than 5%" in page
    assert "stands on no front" in page


def test_classes_that_the_model_does_not_know_are_named_beside_its_numbers(client, db):
    row = make_result(dataset_version=make_dataset_version(classes=("crop", "weed", "stone")))
    row.exported_model.manifest |= {"classes": ["crop", "weed"]}
    row.exported_model.save()
    page = client.get(f"/results/{row.uuid}").content.decode()
    assert "Classes that the model does not know:</strong> stone." in page
    row.exported_model.manifest |= {"classes": ["crop", "weed", "stone"]}
    row.exported_model.save()
    assert "does not know" not in client.get(f"/results/{row.uuid}").content.decode()


@pytest.mark.parametrize(("flag", "remedy"), [("disturbed", "when the machine is quiet"), ("thresholded", "at score threshold 0.001")])
def test_each_flag_has_its_own_remedy(client, db, flag, remedy):
    assert remedy in client.get(f"/results/{make_result(flags=(flag,)).uuid}").content.decode()


def test_a_lone_evaluation_says_what_is_missing(client, db):
    page = _page(client, make_result(p50_ms=None))
    assert "Incomplete." in page
    assert "no latency measurement of the same file" in page


def test_a_lone_measurement_says_what_is_missing(client, db):
    page = _page(client, make_result(ap=None))
    assert "no evaluation of the same file" in page


def test_a_number_on_the_split_that_chose_the_checkpoint_is_marked(client, db):
    assert "Selection split." in _page(client, make_result(split="val"))
    assert "Selection split." not in _page(client, make_result(split="test"))


def test_the_page_gives_the_exact_commands_and_both_specs(client, db):
    row = make_result("fcos_resnet10_fpn", backend="onnxruntime")
    page = _page(client, row)
    for job in (row.evaluation.job, row.latency.job):
        assert f"/api/v1/jobs/{job.uuid}/spec" in page
    accuracy, latency = (command for _, command in commands(row))
    assert accuracy.startswith("python -m detection_core evaluate --artifact fcos_resnet10_fpn-fp32-")
    assert "--split test --score-thresh 0.001 --threads 1" in accuracy
    assert "--scenario single_stream --duration quick --seed 0" in latency


def test_the_command_of_a_checkpoint_takes_it_as_a_checkpoint(db):
    row = make_result(backend="eager")
    assert "--checkpoint" in commands(row)[0][1]


def test_other_results_of_the_checkpoint_are_listed(client, db):
    checkpoint = make_checkpoint()
    row, other = make_result(checkpoint=checkpoint), make_result(checkpoint=checkpoint, backend="eager")
    assert f"/results/{other.uuid}" in _page(client, row)


def test_a_result_that_does_not_exist_is_not_found(client, db):
    answer = client.get(f"/results/{uuid.uuid4()}")
    assert answer.status_code == 404
    assert "Nothing stands at this address" in answer.content.decode()
