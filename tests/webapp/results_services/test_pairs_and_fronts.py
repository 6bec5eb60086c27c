"""What a finished job found becomes rows; evaluation and latency of the same bytes become a pair; fronts hold only valid pairs."""

from __future__ import annotations

import pytest

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.results import BenchmarkResult, EvaluateResult, ImportResult
from tests.accuracy_factories import card_of
from tests.factories import (
    environment_fields,
    make_artifact,
    make_checkpoint,
    make_dataset_version,
    make_job,
    manifest_of,
    metrics_of,
    summary_of,
)
from webapp.datasets.models import DatasetVersion
from webapp.results.models import Checkpoint, ExportedModel, Result
from webapp.results.selectors import front_groups
from webapp.results.services import job_record

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> DatasetVersion:
    return make_dataset_version()


@pytest.fixture
def checkpoint(version) -> Checkpoint:
    return make_checkpoint("fcos_resnet10_fpn", dataset_version=version)


def evaluated(checkpoint, version, *, ap=0.5, backend="eager", cpu="one cpu", difference=0.0, split="test", card=None, origin="") -> None:
    manifest = manifest_of(checkpoint.model, form="safetensors", dtype="fp32", classes=tuple(version.classes))
    result = EvaluateResult.parse(
        {
            "metrics": metrics_of(ap),
            "per_class": [],
            "images": 72,
            "detections": 100,
            "split": split,
            "backend": backend,
            "artifact_sha256": checkpoint.artifact_id,
            "dataset_sha256": version.content_hash,
            "manifest": {**manifest, "parent_sha256": None},
            "protocol": {"score_thresh": 0.001},
            "engine": "hotcoco",
            "audit": {"engine": "pycocotools", "images": 72, "max_abs_difference": difference},
            "accuracy": card or {},
            "environment": environment_fields(cpu),
        }
    )
    job_record(
        job=make_job("evaluate", spec={"threads": 1}, origin=origin),
        result=result,
        outputs={"detections": make_artifact("detections", "d.json.gz")},
    )


def timed(checkpoint, version, *, p50=10.0, backend="eager", cpu="one cpu", flags=(), split="test", score_thresh=0.001, origin="") -> None:
    manifest = manifest_of(checkpoint.model, form="safetensors", dtype="fp32", classes=tuple(version.classes))
    result = BenchmarkResult.parse(
        {
            "latency_ms": summary_of(p50),
            "fps": 1000 / p50,
            "stages_ms": {"forward": summary_of(p50)},
            "samples": 120,
            "runs": 1,
            "flags": list(flags),
            "scenario": "single_stream",
            "duration": "quick",
            "split": split,
            "backend": backend,
            "threads": 1,
            "batch": 1,
            "artifact_sha256": checkpoint.artifact_id,
            "dataset_sha256": version.content_hash,
            "manifest": manifest,
            "protocol": {"score_thresh": score_thresh},
            "environment": environment_fields(cpu),
        }
    )
    job = make_job("benchmark", spec={"threads": 1}, origin=origin)
    job_record(job=job, result=result, outputs={"samples": make_artifact("samples", "s.json.gz")})


@pytest.mark.parametrize("order", [(evaluated, timed), (timed, evaluated)], ids=["evaluation first", "latency first"])
def test_an_evaluation_and_a_latency_of_the_same_bytes_become_one_complete_result_in_either_order(checkpoint, version, order):
    for record in order:
        record(checkpoint, version)
    row = Result.objects.get()
    assert row.complete and row.on_front
    assert (row.ap, row.p50_ms) == (0.5, 10.0)
    assert row.evaluation.exported_model == row.latency.exported_model


def test_a_lone_evaluation_is_incomplete_and_never_on_the_front(checkpoint, version):
    evaluated(checkpoint, version)
    row = Result.objects.get()
    assert not row.complete and not row.on_front


def test_a_second_latency_measurement_makes_a_second_result_with_the_same_evaluation(checkpoint, version):
    evaluated(checkpoint, version)
    timed(checkpoint, version, p50=10.0)
    timed(checkpoint, version, p50=11.0)
    assert Result.objects.filter(complete=True).count() == 2
    assert Result.objects.values("evaluation").distinct().count() == 1


def test_another_backend_or_another_threshold_makes_no_pair(checkpoint, version):
    evaluated(checkpoint, version, backend="eager")
    timed(checkpoint, version, backend="onnxruntime")
    timed(checkpoint, version, score_thresh=0.25)
    assert not Result.objects.filter(complete=True).exists()


def test_a_flagged_latency_is_stored_with_its_flags_and_kept_off_the_front(checkpoint, version):
    evaluated(checkpoint, version)
    timed(checkpoint, version, flags=("disturbed",))
    row = Result.objects.get()
    assert row.complete and row.flags == ["disturbed"] and not row.on_front


def test_evaluators_that_disagree_keep_the_result_off_the_front(checkpoint, version):
    evaluated(checkpoint, version, difference=0.001)
    timed(checkpoint, version)
    row = Result.objects.get()
    assert row.flags == ["evaluators_disagree"] and not row.on_front


def test_a_difference_that_rounding_explains_raises_no_flag(checkpoint, version):
    evaluated(checkpoint, version, difference=9e-7)
    timed(checkpoint, version)
    assert Result.objects.get().flags == []


def test_interval_and_small_object_recall_of_the_card_become_columns(checkpoint, version):
    evaluated(checkpoint, version, ap=0.42, card=card_of(0.42, list(version.classes)))
    timed(checkpoint, version)
    row = Result.objects.get()
    assert (row.ap_low, row.ap_high, row.small_recall) == (pytest.approx(0.39), pytest.approx(0.45), 0.51)


def test_an_evaluation_without_a_card_leaves_the_columns_empty(checkpoint, version):
    evaluated(checkpoint, version)
    row = Result.objects.get()
    assert (row.ap_low, row.ap_high, row.small_recall) == (None, None, None)


def test_a_result_on_the_split_that_chose_the_checkpoint_is_badged_and_kept_off_the_front(checkpoint, version):
    evaluated(checkpoint, version, split="val")
    timed(checkpoint, version, split="val")
    row = Result.objects.get()
    assert row.selection_split and not row.on_front


def test_a_better_newcomer_pushes_the_dominated_one_off_the_front(version):
    first, second = make_checkpoint(dataset_version=version), make_checkpoint(dataset_version=version)
    evaluated(first, version, ap=0.4)
    timed(first, version, p50=20.0)
    evaluated(second, version, ap=0.5)
    timed(second, version, p50=10.0)
    on = dict(Result.objects.values_list("ap", "on_front"))
    assert on == {0.4: False, 0.5: True}


def test_results_of_two_machines_never_share_a_front(checkpoint, version):
    evaluated(checkpoint, version, cpu="one cpu")
    timed(checkpoint, version, p50=10.0, cpu="one cpu")
    timed(checkpoint, version, p50=20.0, cpu="another cpu")
    assert Result.objects.filter(on_front=True).values("group_key").distinct().count() == 2


def test_an_import_makes_a_version_once_and_a_changed_content_makes_the_next_number():
    artifact = make_artifact("dataset", "d.tar")

    def imported(content_hash):
        result = ImportResult.parse(
            {
                "name": "d",
                "content_hash": content_hash,
                "classes": ["a"],
                "splits": {"train": {"images": 1, "boxes": 1, "per_class": {"a": 1}}},
                "report": {},
                "form": "coco",
                "files": [],
            }
        )
        job_record(job=make_job("import"), result=result, outputs={"dataset": artifact})

    imported("a" * 64)
    imported("a" * 64)
    imported("b" * 64)
    assert list(DatasetVersion.objects.order_by("number").values_list("number", "content_hash")) == [(1, "a" * 64), (2, "b" * 64)]


def test_the_same_bytes_are_one_exported_model(checkpoint, version):
    evaluated(checkpoint, version, backend="eager")
    evaluated(checkpoint, version, backend="eager")
    assert ExportedModel.objects.count() == 1


def test_a_measurement_that_tells_another_model_than_the_stored_file_is_refused(checkpoint, version):
    evaluated(checkpoint, version)
    Checkpoint.objects.update(model="retinanet_resnet10_fpn")
    checkpoint.refresh_from_db()
    with pytest.raises(InvalidInput, match="another manifest than the one that fcos_resnet10_fpn safetensors fp32"):
        timed(checkpoint, version)


ELSEWHERE = "edge: one cpu"


def test_numbers_from_elsewhere_share_neither_machine_nor_front_with_ours_though_they_tell_the_same_machine(version):
    ours, theirs = make_checkpoint(dataset_version=version), make_checkpoint(dataset_version=version)
    evaluated(ours, version, ap=0.4)
    timed(ours, version, p50=20.0)
    evaluated(theirs, version, ap=0.9, origin=ELSEWHERE)
    timed(theirs, version, p50=1.0, origin=ELSEWHERE)
    here, there = Result.objects.get(origin=""), Result.objects.get(origin=ELSEWHERE)
    assert here.environment != there.environment and here.group_key != there.group_key
    assert here.environment.title != there.environment.title
    assert here.on_front and there.on_front


def test_an_ap_that_was_told_beside_a_latency_of_ours_pushes_nothing_of_ours_off_the_front(version):
    ours, theirs = make_checkpoint(dataset_version=version), make_checkpoint(dataset_version=version)
    evaluated(ours, version, ap=0.4)
    timed(ours, version, p50=20.0)
    evaluated(theirs, version, ap=0.9, origin=ELSEWHERE)
    timed(theirs, version, p50=10.0)
    assert Result.objects.get(origin="").on_front
    mixed = Result.objects.get(origin=ELSEWHERE)
    groups = {group.key: group.title for group in front_groups()}
    assert groups[mixed.group_key].endswith(f"AP offline, measured on {ELSEWHERE}")
    assert "offline" not in groups[Result.objects.get(origin="").group_key]


@pytest.mark.parametrize(("own", "other"), [("", ELSEWHERE), (ELSEWHERE, "")], ids=["measured here", "measured elsewhere"])
@pytest.mark.parametrize("latency_first", [True, False])
def test_a_measurement_is_paired_with_an_evaluation_of_its_own_origin_in_whatever_order_they_come(
    checkpoint, version, own, other, latency_first
):
    if latency_first:
        timed(checkpoint, version, origin=own)
    evaluated(checkpoint, version, ap=0.9, origin=other)
    if not latency_first:
        timed(checkpoint, version, origin=own)
    assert Result.objects.get(latency__isnull=False).ap == 0.9
    evaluated(checkpoint, version, ap=0.5, origin=own)
    row = Result.objects.get(latency__isnull=False)
    assert (row.ap, row.origin, row.complete, row.on_front) == (0.5, own, True, True)
    alone = Result.objects.get(latency=None)
    assert (alone.ap, alone.origin, alone.complete) == (0.9, other, False)


def test_an_evaluation_from_elsewhere_does_not_take_the_place_of_ours(checkpoint, version):
    timed(checkpoint, version)
    evaluated(checkpoint, version, ap=0.5)
    evaluated(checkpoint, version, ap=0.9, origin=ELSEWHERE)
    row = Result.objects.get(latency__isnull=False)
    assert (row.ap, row.origin) == (0.5, "")


def test_a_second_evaluation_of_ours_leaves_the_pair_as_it_was(checkpoint, version):
    timed(checkpoint, version)
    evaluated(checkpoint, version, ap=0.5)
    evaluated(checkpoint, version, ap=0.6)
    assert Result.objects.get(latency__isnull=False).ap == 0.5


def test_the_front_that_a_pair_leaves_is_drawn_anew(version):
    first, second = make_checkpoint(dataset_version=version), make_checkpoint(dataset_version=version)
    for checkpoint, ap, p50 in ((first, 0.9, 10.0), (second, 0.5, 20.0)):
        timed(checkpoint, version, p50=p50)
        evaluated(checkpoint, version, ap=ap, origin=ELSEWHERE)
    assert list(Result.objects.filter(on_front=True).values_list("ap", flat=True)) == [0.9]
    evaluated(first, version, ap=0.3)
    assert set(Result.objects.filter(on_front=True).values_list("ap", flat=True)) == {0.5, 0.3}
