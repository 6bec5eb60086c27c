"""The figure of a study: ours with its interval, the papers' hollow; lines over the tested heights."""

from __future__ import annotations

import pytest

from detection_core.catalogue.studies import STUDIES
from tests.own_folders import own_folders
from tests.webapp.studies.makers import finish, make_run
from webapp.studies.figures import study_figure
from webapp.studies.outcome import outcome_of
from webapp.studies.selectors import run_found, study_runs

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db


def figure(name: str):
    return study_figure(outcome_of(STUDIES[name], run_found(study_runs(name)[0])))


def test_without_a_number_nothing_is_drawn():
    assert study_figure(outcome_of(STUDIES["necks"], None)) is None
    make_run("necks", seeds=[0])
    assert figure("necks") is None


def test_our_differences_stand_on_the_rows_of_the_papers():
    suite = make_run(seeds=[0])
    finish(suite, {"gamma_0": (0.30,), "gamma_2": (0.34,)})
    ours, theirs = figure("focal-loss")["data"]
    assert ours["y"] == ["γ 2 − γ 0"] and ours["x"] == [pytest.approx(4.0)]
    assert ours["error_x"]["array"][0] > 0 and ours["error_x"]["arrayminus"][0] > 0
    assert dict(zip(theirs["y"], theirs["x"], strict=True))["γ 2 − γ 0"] == 2.9
    assert theirs["marker"]["symbol"].endswith("-open")


def test_heights_are_lines_and_strong_augmentation_is_dashed():
    suite = make_run("altitude", seeds=[0])
    finish(suite, {f"{arm} {tested}": (0.3,) for arm in ("10m_plain", "10m_strong") for tested in ("10m", "40m")})
    plain, strong = figure("altitude")["data"]
    assert plain["x"] == ["10 m", "40 m"] and plain["line"]["dash"] == "solid"
    assert strong["line"]["dash"] == "dash" and strong["line"]["color"] == plain["line"]["color"]
