"""The pages of studies: read by anybody, queued by people who are logged in, said in words before the button."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection_core.catalogue.studies import STUDIES
from tests.factories import make_dataset_version, make_worker
from tests.own_folders import own_folders
from tests.webapp.studies.makers import finish, make_run
from webapp.jobs.models import Job, Suite
from webapp.jobs.presentation import about
from webapp.jobs.states import State

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db

APS = {"gamma_0": (0.30, 0.31, 0.29), "gamma_2": (0.40, 0.41, 0.39), "mining": (0.33, 0.33, 0.32)}


def text(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def asked(**fields) -> dict[str, str]:
    values = {"dataset": f"version:{make_dataset_version().uuid}", "epochs": "24", "minutes": "", "seeds": "0, 1, 2", "lane": "cpu"}
    return values | fields


def test_the_list_tells_each_study_and_its_last_run(client):
    page = text(client.get("/studies"))
    for study in STUDIES.values():
        assert study.title in page and study.question in page and about(60 * study.two_core_minutes) in page
    assert page.count("never run here") == 3
    make_run(seeds=[0])
    page = text(client.get("/studies"))
    assert page.count("never run here") == 2 and "0 of 12 jobs done" in page


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_that_never_ran_shows_the_papers_numbers_and_what_a_run_takes(client, name):
    page = text(client.get(f"/studies/{name}"))
    study = STUDIES[name]
    assert "This study has not been run here" in page
    assert all(arm.label in page for arm in study.arms)
    rows = [arm.paper for arm in study.arms if arm.paper]
    assert all(f"{row.ap * 100:.1f}" in page and row.source in page for row in rows)
    assert "Log in to queue it" in page and f"{len(study.arms) * 3} trainings" in page
    assert f"{about(60 * study.two_core_minutes)} on two CPU cores" in page


def test_the_form_and_the_preset_agree_on_how_long_a_run_takes(alice_client):
    """Nothing has run here yet, so that the form guesses; both are for two CPU cores."""
    for study in STUDIES.values():
        page = text(alice_client.get(f"/studies/{study.name}"))
        found = re.search(r"about (?:(\d+) h)? ?(?:(\d+) min)? on lane cpu", page)
        assert found, study.name
        minutes = 60 * int(found.group(1) or 0) + int(found.group(2) or 0)
        assert minutes == pytest.approx(study.two_core_minutes, rel=0.1), study.name


def test_an_unknown_study_or_run_is_not_found(client):
    assert client.get("/studies/nothing").status_code == 404
    assert client.get("/studies/necks?suite=00000000-0000-0000-0000-000000000000").status_code == 404
    assert client.get("/studies/necks?suite=nonsense").status_code == 200


def test_a_run_shows_its_outcome_beside_the_papers(client):
    suite = make_run()
    finish(suite, APS)
    answer = client.get("/studies/focal-loss")
    page = text(answer)
    assert "Focal loss, γ 2, α 0.25 beats cross-entropy (γ 0), α 0.75 by 10.0 AP" in page
    assert "Measured on bccd v1 test. Each training: 9 epochs, 256 px, batches of 8." in page
    assert "+2.9" in page and "RetinaNet paper, table 1b" in page
    assert 'id="study-figure"' in answer.content.decode() and "Runs" in page
    assert f"/suites/{suite.uuid}" in answer.content.decode()


def test_a_failed_job_is_linked_with_its_reason(client):
    suite = make_run(seeds=[0])
    finish(suite, {"gamma_0": (0.3,)})
    job = suite.jobs.get(kind="train", labels__arm="mining")
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, failure_message="the disk is full; free some space")
    answer = client.get("/studies/focal-loss")
    assert "training failed: the disk is full; free some space" in text(answer)
    assert f"/jobs/{job.uuid}" in answer.content.decode()


def test_the_number_of_queries_does_not_grow_with_the_run(client):
    counts = []
    for seeds in ([0], [0, 1, 2]):
        suite = make_run(seeds=seeds)
        finish(suite, {name: values[: len(seeds)] for name, values in APS.items()})
        client.get(f"/studies/focal-loss?suite={suite.uuid}")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(f"/studies/focal-loss?suite={suite.uuid}").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] and counts[0] < 25, counts


def test_the_suite_of_a_study_leads_to_its_outcome_and_back(client):
    suite = make_run("altitude", seeds=[0])
    suite.jobs.update(state=State.SUCCEEDED)
    page = client.get(f"/suites/{suite.uuid}").content.decode()
    assert f"/studies/altitude?suite={suite.uuid}" in page
    assert "at 10 m" in page and "at 40 m" in page
    assert "Read the outcome" in page and "frontier of this pipeline" not in page


def test_queueing_needs_a_login(client):
    answer = client.post("/studies/focal-loss", asked())
    assert answer.status_code == 302 and answer.url == "/login?next=/studies/focal-loss"
    assert client.get("/studies/focal-loss/plan").status_code == 302
    assert not Job.objects.exists()


def test_what_will_be_queued_is_said_in_words_before_the_button(alice_client):
    make_worker(lanes=["cpu"])
    plan = text(alice_client.get("/studies/focal-loss/plan", asked(minutes="10")))
    assert "36 jobs: 18 trainings of at most 10 min, 18 evaluations; about 3 h 16 min on lane cpu" in plan
    plan = text(alice_client.get("/studies/necks/plan", asked(duration="quick")))
    assert "9 trainings, 9 evaluations, 9 latency measurements (quick)" in plan
    assert not Job.objects.exists()


def test_submitting_queues_a_run_and_opens_its_suite(alice_client, alice):
    answer = alice_client.post("/studies/focal-loss", asked(seeds="3,4", epochs="5", input_size="192"))
    suite = Suite.objects.get()
    assert answer.url == f"/suites/{suite.uuid}"
    assert (suite.study, suite.created_by, suite.jobs.count()) == ("focal-loss", alice, 24)
    recipe = suite.jobs.filter(kind="train").first().spec["recipe"]
    assert (recipe["seed"], recipe["epochs"], recipe["input_size"], recipe["max_minutes"]) == (3, 5, 192, None)


def test_a_study_that_makes_its_data_asks_for_none(alice_client):
    page = alice_client.get("/studies/altitude").content.decode()
    assert 'name="dataset"' not in page and 'name="duration"' not in page
    fields = {name: value for name, value in asked(seeds="0").items() if name != "dataset"}
    alice_client.post("/studies/altitude", fields)
    assert Suite.objects.get().jobs.filter(kind="import", spec__options__altitude_m=[40.0]).count() == 1


def test_pressing_the_button_twice_queues_once(alice_client):
    page = alice_client.get("/studies/focal-loss").content.decode()
    token = re.search(r'name="token" value="([^"]+)"', page).group(1)
    first, second = (alice_client.post("/studies/focal-loss", asked(token=token)) for _ in range(2))
    assert first.url == second.url and Suite.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("seeds", "zero", "write whole numbers from 0, separated by commas, such as 0, 1, 2"),
        ("seeds", "1, -2", "write whole numbers from 0"),
        ("seeds", "1, 1", "give each seed once"),
        ("seeds", ", ".join(map(str, range(11))), "give at most 10 seeds"),
        ("epochs", "0", "greater than or equal to 1"),
        ("minutes", "0", "greater than or equal to 0.1"),
        ("input_size", "250", "use a multiple of 32"),
        ("dataset", "version:6a0e4b62-4b53-4a43-8d7d-2f2f6f6d0c11", "is not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_at_the_field_and_at_the_top_and_nothing_is_queued(alice_client, field, value, sentence):
    answer = alice_client.post("/studies/focal-loss", asked(**{field: value}))
    assert answer.status_code == 400
    assert text(answer).count(sentence) >= 2 and "Nothing was queued" in text(answer)
    assert not Job.objects.exists()


def test_a_data_set_without_a_test_split_is_refused(alice_client):
    version = make_dataset_version()
    version.splits["test"] = {"images": 0, "boxes": 0, "per_class": {}}
    version.save()
    assert "has no test images, only train and val" in text(alice_client.post("/studies/focal-loss", asked()))
    assert not Job.objects.exists()


def test_the_page_that_queues_leads_to_the_studies(alice_client):
    assert 'href="/studies"' in alice_client.get("/jobs/new").content.decode()
