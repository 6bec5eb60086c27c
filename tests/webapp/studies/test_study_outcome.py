"""What a run says: from its numbers alone, and only what they show."""

from __future__ import annotations

import pytest

from detection_core.catalogue.studies import STUDIES
from tests.factories import sha
from tests.own_folders import own_folders
from tests.webapp.studies.makers import evaluated, finish, make_run
from webapp.jobs.models import Suite
from webapp.jobs.states import State
from webapp.studies.outcome import Outcome, outcome_of
from webapp.studies.selectors import run_found, run_shown, study_runs
from webapp.studies.words import outcome_sentences

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db

FLAT = dict.fromkeys(("gamma_0", "gamma_0.5", "gamma_1", "gamma_2", "gamma_5", "mining"), (0.3, 0.31, 0.29))


def outcome(suite: Suite) -> Outcome:
    run = run_shown(study_runs(suite.study), name=suite.study, wanted=suite.uuid)
    return outcome_of(STUDIES[suite.study], run_found(run))


def difference(found: Outcome, arm: str, baseline: str, data: str = ""):
    return next(
        one for one in found.differences if (one.comparison.arm, one.comparison.baseline, one.comparison.data) == (arm, baseline, data)
    )


def test_the_mean_the_spread_and_the_count_of_an_arm():
    suite = make_run()
    finish(suite, FLAT)
    row = outcome(suite).rows[0]
    assert (row.arm.name, row.count) == ("gamma_0", "3 of 3")
    assert row.cells[0].ap.mean == pytest.approx(0.30) and row.cells[0].ap.sd == pytest.approx(0.01)
    assert row.cells[0].ap.low < 0.30 < row.cells[0].ap.high


def test_a_clear_difference_that_all_seeds_share_is_shown():
    suite = make_run()
    finish(suite, FLAT | {"gamma_2": (0.40, 0.41, 0.39)})
    found = outcome(suite)
    clear = difference(found, "gamma_2", "gamma_0")
    assert clear.winner is not None and clear.winner.name == "gamma_2"
    assert clear.found.difference == pytest.approx(0.10)
    sentences = outcome_sentences(found)
    assert sentences[0].startswith("Focal loss, γ 2, α 0.25 beats cross-entropy (γ 0), α 0.75 by 10.0 AP (")
    assert "In the other 4 of 6 comparisons no difference is shown." in sentences
    assert "2 of the shown differences stand in a paper's table too; 2 of them with the same sign." in sentences
    assert "Highest mean AP: focal loss, γ 2, α 0.25, 40.0." in sentences
    assert sentences[-1] == "At most 3 trainings of an arm: they tell little of the chance in a training."


def test_a_baseline_that_wins_is_named_first():
    suite = make_run()
    finish(suite, FLAT | {"gamma_5": (0.20, 0.21, 0.19)})
    sentences = outcome_sentences(outcome(suite))
    assert sentences[0].startswith("Cross-entropy (γ 0), α 0.75 beats focal loss, γ 5, α 0.25 by 10.0 AP (")
    assert "One of the shown differences stands in a paper's table too, with the other sign." in sentences


def test_where_nothing_differs_the_page_says_so():
    suite = make_run()
    finish(suite, FLAT)
    assert outcome_sentences(outcome(suite))[0] == "No difference is shown in any of the 6 comparisons."


def test_seeds_that_disagree_hide_a_difference_that_images_alone_would_show():
    """Draw by draw the arm is far over its baseline; from training to training it is not."""
    suite = make_run()
    finish(suite, FLAT | {"gamma_0": (0.30, 0.30, 0.30), "gamma_2": (0.41, 0.30, 0.31)})
    one = difference(outcome(suite), "gamma_2", "gamma_0").found
    assert one.difference > 4 * one.images_sd
    assert one.low < 0 < one.high
    assert difference(outcome(suite), "gamma_2", "gamma_0").winner is None


def test_one_seed_says_what_is_not_in_its_interval():
    suite = make_run(seeds=[5])
    finish(suite, {name: values[:1] for name, values in FLAT.items()} | {"gamma_2": (0.40,)})
    found = outcome(suite)
    assert difference(found, "gamma_2", "gamma_0").winner.name == "gamma_2"
    assert found.rows[0].cells[0].ap.sd is None
    assert "the chance in a training is not in these intervals" in outcome_sentences(found)[-1]


def test_many_comparisons_make_each_verdict_harder():
    suite = make_run()
    finish(suite, FLAT | {"gamma_2": (0.302, 0.312, 0.292)}, own=0.01)
    one = difference(outcome(suite), "gamma_2", "gamma_0")
    assert one.found.p < one.p_holm


def test_a_failed_training_is_told_once_and_the_others_are_compared_without_it():
    suite = make_run()
    finish(suite, FLAT | {"gamma_2": (0.40, 0.41, 0.39)})
    train = suite.jobs.get(kind="train", labels__arm="gamma_2", labels__seed=1)
    test = suite.jobs.get(kind="evaluate", labels__arm="gamma_2", labels__seed=1)
    test.evaluation.delete()
    suite.jobs.filter(pk=train.pk).update(state=State.FAILED, failure_message="the machine ran out of memory; choose a smaller batch\nmore")
    suite.jobs.filter(pk=test.pk).update(state=State.CANCELLED)
    found = outcome(suite)
    assert [(one.arm.name, one.seed, one.job.pk) for one in found.missing] == [("gamma_2", 1, train.pk)]
    assert found.missing[0].words == "training failed: the machine ran out of memory; choose a smaller batch"
    assert difference(found, "gamma_2", "gamma_0").found.seeds == 2
    assert next(row for row in found.rows if row.arm.name == "gamma_2").count == "2 of 3"


def test_an_evaluation_that_waits_is_told():
    suite = make_run(seeds=[0])
    suite.jobs.filter(kind="train").update(state=State.SUCCEEDED)
    found = outcome(suite)
    assert len(found.missing) == 6 and found.missing[0].words == "evaluation waiting"
    assert not found.measured and outcome_sentences(found) == []
    assert all(one.obstacle == "no seed has both yet" for one in found.differences)


def test_evaluations_that_were_drawn_differently_are_not_compared():
    suite = make_run(seeds=[0])
    finish(suite, {"gamma_0": (0.30,), "mining": (0.31,)})
    evaluated(suite.jobs.get(kind="evaluate", labels__arm="gamma_2"), 0.40, key=sha("other draws"))
    found = outcome(suite)
    assert difference(found, "gamma_2", "gamma_0").obstacle == "drawn differently: evaluate both again"
    assert difference(found, "mining", "gamma_0").found is not None
    assert "5 comparisons cannot be made yet." in outcome_sentences(found)


def test_a_number_that_the_evaluators_count_differently_beats_nothing():
    suite = make_run(seeds=[0])
    finish(suite, {"gamma_0": (0.30,), "gamma_2": (0.40,)})
    evaluation = suite.jobs.get(kind="evaluate", labels__arm="gamma_2").evaluation
    evaluation.result["audit"]["max_abs_difference"] = 0.01
    evaluation.save()
    one = difference(outcome(suite), "gamma_2", "gamma_0")
    assert one.found is None and "the two evaluators count one of them differently" in one.obstacle


def test_draws_of_a_few_groups_give_no_verdict():
    suite = make_run(seeds=[0])
    finish(suite, {"gamma_0": (0.30,), "gamma_2": (0.40,)})
    for evaluation in (job.evaluation for job in suite.jobs.filter(kind="evaluate", labels__arm__in=["gamma_0", "gamma_2"])):
        evaluation.result["accuracy"]["bootstrap"]["groups_ignored"] = True
        evaluation.save()
    assert "too few groups" in difference(outcome(suite), "gamma_2", "gamma_0").obstacle


def test_necks_tell_sizes_and_latency():
    suite = make_run("necks")
    aps = dict.fromkeys(("single", "multi", "fpn"), (0.3, 0.31, 0.32))
    finish(suite, aps, p50_ms={"single": 10.0, "multi": 12.0, "fpn": 14.0})
    row = next(row for row in outcome(suite).rows if row.arm.name == "fpn")
    assert [title for title, _, _ in row.sizes] == ["AP small", "AP medium", "AP large"]
    assert row.sizes[0][1] == pytest.approx(0.31 * 0.55) and row.sizes[0][2] == 0.178
    assert row.latency_ms == pytest.approx(14.0)
    assert "Median latency, end to end: single 10.0 ms, multi 12.0 ms, fpn 14.0 ms." in outcome_sentences(outcome(suite))


def test_altitudes_make_a_matrix_and_each_tested_height_is_compared_on_its_own_images():
    suite = make_run("altitude", seeds=[0])
    aps = {
        f"{arm.name} {tested}": (0.40 if arm.data == tested else 0.20,)
        for arm in STUDIES["altitude"].arms
        for tested in ("10m", "20m", "40m")
    }
    finish(suite, aps)
    found = outcome(suite)
    assert [[cell.ap.mean for cell in row.cells] for row in found.rows[:2]] == [[0.40, 0.20, 0.20], [0.20, 0.40, 0.20]]
    lost = difference(found, "10m_plain", "40m_plain", "40m")
    assert lost.winner.name == "40m_plain" and lost.found.difference == pytest.approx(-0.20)
    assert difference(found, "40m_strong", "40m_plain", "40m").winner is None
    assert outcome_sentences(found)[:2] == [
        "With plain augmentation, training at the tested height beats training at another height in 6 of 6 comparisons, by 20.0 AP.",
        "In the other 9 of 15 comparisons no difference is shown.",
    ]
    assert len(found.data) == 3


def test_comparisons_of_a_pattern_are_summed_up_whoever_wins():
    suite = make_run("altitude", seeds=[0])
    heights = ("10m", "20m", "40m")
    plain = {f"{own}_plain {tested}": (0.40 if own == tested else 0.20,) for own in heights for tested in heights}
    strong = {f"{own}_strong {tested}": (0.35 if own == tested else 0.30,) for own in heights for tested in heights}
    finish(suite, plain | strong | {"40m_strong 10m": (0.38,)})
    sentences = outcome_sentences(outcome(suite))
    away = (
        "Tested at another height than trained at, strong augmentation beats plain augmentation in 6 of 6 comparisons, by 10.0 to 18.0 AP."
    )
    home = "Tested at the height trained at, plain augmentation beats strong augmentation in 3 of 3 comparisons, by 5.0 AP."
    assert away in sentences and home in sentences
    assert len(sentences) == 5, sentences


def test_the_newest_complete_run_is_shown_unless_another_is_asked_for():
    first, second, third = (make_run(seeds=[0]) for _ in range(3))
    for suite in (first, second):
        finish(suite, {})
    runs = study_runs("focal-loss")
    assert [run.suite.pk for run in runs] == [third.pk, second.pk, first.pk]
    assert run_shown(runs, name="focal-loss").suite.pk == second.pk
    assert run_shown(runs, name="focal-loss", wanted=first.uuid).suite.pk == first.pk
    assert run_shown([], name="necks", wanted=first.uuid) is None
    assert run_shown([], name="necks") is None


def test_a_run_of_which_nothing_is_complete_is_shown_while_it_is_the_newest():
    older, newer = make_run(seeds=[0]), make_run(seeds=[0])
    assert run_shown(study_runs("focal-loss"), name="focal-loss").suite.pk == newer.pk
    finish(older, {})
    assert run_shown(study_runs("focal-loss"), name="focal-loss").suite.pk == older.pk
