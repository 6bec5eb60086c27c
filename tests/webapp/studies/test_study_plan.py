"""What a study queues: every arm with every seed, all told which part they are, one import for each data set."""

from __future__ import annotations

import pytest

from detection_core.catalogue.studies import STUDIES
from detection_core.schemas.base import InvalidInput
from tests.factories import make_dataset_version
from tests.webapp.studies.makers import make_run
from webapp.jobs.models import Job, Suite
from webapp.jobs.services import job_retry
from webapp.jobs.states import State
from webapp.studies.plan import StudyRequest, study_plan
from webapp.studies.services import study_queue


def kinds(plan) -> dict[str, int]:
    return {kind: sum(job.spec.kind == kind for job in plan) for kind in {job.spec.kind for job in plan}}


def request(study: str, **fields) -> StudyRequest:
    own = {} if STUDIES[study].data else {"import_ref": "fields", "dataset_name": "fields"}
    return StudyRequest.parse({"study": study} | own | fields)


def test_the_focal_study_trains_every_gamma_with_its_alpha_on_one_import():
    plan = study_plan(request("focal-loss"), threads=2)
    assert kinds(plan) == {"import": 1, "train": 18, "evaluate": 18}
    losses = {job.labels["arm"]: job.spec.recipe.model_options["classification"] for job in plan if job.spec.kind == "train"}
    assert losses["gamma_0.5"] == {"loss": "focal", "alpha": 0.5, "gamma": 0.5}
    assert losses["mining"] == {"loss": "hard_mining", "negatives_per_positive": 3.0}
    assert {job.spec.recipe.seed for job in plan if job.spec.kind == "train"} == {0, 1, 2}
    assert all(job.needs["dataset"] == ("data", "dataset") for job in plan if job.spec.kind != "import")
    recipes = [job.spec.recipe for job in plan if job.spec.kind == "train"]
    assert {(recipe.epochs, recipe.max_minutes) for recipe in recipes} == {(STUDIES["focal-loss"].epochs, None)}


@pytest.mark.parametrize(
    ("asked", "every"), [({"epochs": 18}, 4), ({"epochs": 2}, 1), ({"minutes": 5}, 1), ({"minutes": 5, "epochs": 9}, 1)]
)
def test_epochs_are_looked_at_on_val_a_few_times_and_minutes_share_themselves_out(asked, every):
    plan = study_plan(request("focal-loss", seeds=[0], **asked))
    assert {job.spec.recipe.eval_every for job in plan if job.spec.kind == "train"} == {every}


def test_arms_of_one_study_differ_in_nothing_but_what_the_study_turns():
    for study in STUDIES.values():
        recipes = [job.spec.recipe.to_dict() for job in study_plan(request(study.name, seeds=[4])) if job.spec.kind == "train"]
        turned = {name for recipe in recipes for name in recipe if recipe[name] != recipes[0][name]}
        assert turned <= {"model_options"} or turned <= {"augmentation"}, study.name


def test_necks_are_timed_too_with_half_of_the_threads():
    plan = study_plan(request("necks", duration="standard"), threads=4)
    assert kinds(plan) == {"import": 1, "train": 9, "evaluate": 9, "benchmark": 9}
    timed = next(job for job in plan if job.spec.kind == "benchmark")
    assert (timed.spec.duration, timed.spec.threads, timed.spec.backend) == ("standard", 2, "eager")
    assert timed.needs["artifact"] == ("single:0:train", "checkpoint_best")


def test_altitudes_are_imported_once_each_and_every_training_is_tested_on_all():
    plan = study_plan(request("altitude", seeds=[0]))
    assert kinds(plan) == {"import": 3, "train": 6, "evaluate": 18}
    imports = {job.alias: job.spec for job in plan if job.spec.kind == "import"}
    assert {alias: spec.options["altitude_m"] for alias, spec in imports.items()} == {
        "data:10m": [10.0],
        "data:20m": [20.0],
        "data:40m": [40.0],
    }
    assert len({spec.name for spec in imports.values()}) == 3
    for job in plan:
        if job.spec.kind == "train":
            assert job.needs["dataset"] == (f"data:{job.labels['arm'].split('_')[0]}", "dataset")
        if job.spec.kind == "evaluate":
            assert job.needs["dataset"] == (f"data:{job.labels['tested']}", "dataset")
            assert job.needs["artifact"][0] == f"{job.labels['arm']}:0:train"


def test_a_stored_data_set_needs_no_import():
    plan = study_plan(request("focal-loss", import_ref=None, dataset_sha256="a" * 64, seeds=[7], minutes=2))
    assert kinds(plan) == {"train": 6, "evaluate": 6}
    assert {job.spec.dataset.sha256 for job in plan} == {"a" * 64}
    assert plan[0].needs == {}
    assert plan[0].spec.recipe.max_minutes == 2 and plan[0].spec.recipe.epochs >= 1000


@pytest.mark.parametrize(
    ("study", "fields", "words"),
    [
        ("focal-loss", {"import_ref": None}, "give either dataset_sha256"),
        ("focal-loss", {"import_ref": "mars"}, "built-in data set 'mars' is not known"),
        ("altitude", {"import_ref": "fields"}, "makes its own data; leave out dataset_sha256 and import_ref"),
        ("focal-loss", {"seeds": [1, 1]}, "seed 1 stands twice"),
        ("focal-loss", {"seeds": []}, "seeds"),
        ("focal-loss", {"seeds": [-1]}, "seeds"),
        ("focal-loss", {"epochs": 0}, "epochs"),
        ("focal-loss", {"input_size": 100}, "input_size"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_remedy(study, fields, words):
    with pytest.raises(InvalidInput, match=words):
        request(study, **fields)


def test_an_unknown_study_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="there is no study 'nothing'; use one of focal-loss, necks, altitude"):
        StudyRequest.parse({"study": "nothing", "import_ref": "fields"})


@pytest.mark.django_db
def test_a_queued_run_carries_its_study_and_its_jobs_carry_their_part(alice):
    suite = make_run(user=alice)
    assert (suite.study, suite.name) == ("focal-loss", "Focal loss on bccd v1, 3 seeds")
    train = suite.jobs.filter(kind="train").order_by("id").first()
    assert train.labels == {"arm": "gamma_0", "seed": 0}
    assert train.title == "cross-entropy (γ 0), α 0.75, seed 0 · bccd v1"
    assert suite.jobs.filter(kind="evaluate", labels__arm="mining", labels__seed=2, labels__tested="").count() == 1


@pytest.mark.django_db
def test_a_retried_job_keeps_its_part(alice):
    suite = make_run(user=alice, seeds=[0])
    train = suite.jobs.filter(kind="train").order_by("id").first()
    Job.objects.filter(pk=train.pk).update(state=State.FAILED)
    train.refresh_from_db()
    assert job_retry(job=train, user=alice).labels == {"arm": "gamma_0", "seed": 0}


@pytest.mark.django_db
def test_the_same_key_queues_a_study_once(alice):
    version = make_dataset_version()
    wanted = StudyRequest.parse({"study": "necks", "dataset_sha256": version.artifact_id, "seeds": [0]})
    first, second = (study_queue(request=wanted, user=alice, jobs=study_plan(wanted), idempotency_key="one") for _ in range(2))
    assert first.pk == second.pk and Suite.objects.count() == 1


@pytest.mark.django_db
def test_a_pipeline_is_of_no_study():
    from tests.page_factories import make_suite

    assert make_suite().study == ""
