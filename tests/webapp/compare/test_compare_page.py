"""Results side by side: who beats whom, and why two cannot be compared."""

from __future__ import annotations

import pytest

from tests.accuracy_factories import draws_around, give_accuracy
from tests.factories import make_dataset_version, make_result, sha
from tests.own_folders import own_folders
from webapp.compare.rows import comparison_rows
from webapp.compare.selectors import chosen_results, verdicts

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db


def result(ap: float, version, **fields):
    draws = fields.pop("draws", None) or draws_around(ap, own=0.004)
    key = fields.pop("key", None)
    return give_accuracy(make_result(ap=ap, dataset_version=version, **fields), draws=draws, **({"key": key} if key else {}))


def address(*rows) -> str:
    return "/compare?results=" + ",".join(str(row.uuid) for row in rows)


def test_a_clear_difference_on_the_same_draws_is_a_win(client):
    version = make_dataset_version()
    better, worse = result(0.45, version), result(0.40, version, model="ssd_resnet10")
    page = client.get(address(better, worse)).content.decode()
    assert "+5.0" in page
    assert "<strong>FCOS ResNet-10</strong> beats the other" in page


def test_a_small_difference_is_no_win(client):
    version = make_dataset_version()
    one, other = result(0.402, version, draws=draws_around(0.402, own=0.01)), result(0.40, version, draws=draws_around(0.40, own=0.01))
    assert "no difference is shown" in client.get(address(one, other)).content.decode()


def test_many_pairs_make_each_verdict_harder():
    version = make_dataset_version()
    first = result(0.420, version, draws=draws_around(0.420, own=0.0052))
    second = result(0.407, version, draws=draws_around(0.407, own=0.0052))
    alone = verdicts([first, second])[0]
    others = [result(0.40 + place / 1000, version, draws=draws_around(0.40 + place / 1000, own=0.02)) for place in range(4)]
    among = next(one for one in verdicts([first, second, *others]) if (one.first, one.second) == (first, second))
    assert alone.p_holm == alone.found.p
    assert among.p_holm > alone.p_holm


def test_the_api_compares_pair_by_pair_and_names_the_winner_or_the_obstacle(client):
    version = make_dataset_version()
    better, worse, older = result(0.45, version), result(0.40, version), make_result(ap=0.3, dataset_version=version)
    asked = ",".join(str(row.uuid) for row in (better, worse, older))
    won, *others = client.get(f"/api/v1/comparisons?results={asked}").json()
    assert (won["first"], won["second"], won["winner"]) == (str(better.uuid), str(worse.uuid), str(better.uuid))
    assert won["difference"] == pytest.approx(0.05) and 0 < won["low"] < 0.05 < won["high"] and won["p"] < 0.05
    assert [(one["difference"], one["winner"], one["obstacle"]) for one in others] == [
        (None, None, "no draws are stored: evaluate again")
    ] * 2


@pytest.mark.parametrize(
    ("query", "message"), [("results=none,such", "0 of these ids are results"), ("results=x&number=fps", "number 'fps' is not compared")]
)
def test_the_api_says_what_it_cannot_compare(client, query, message):
    answer = client.get(f"/api/v1/comparisons?{query}")
    assert answer.status_code == 422 and message in answer.json()["detail"]


def test_other_data_and_other_draws_are_told_apart(client):
    version, other = make_dataset_version(), make_dataset_version("other")
    base = result(0.4, version)
    page = client.get(address(base, result(0.5, other), result(0.5, version, key=sha("other draws")))).content.decode()
    assert "other images: evaluate both on the same data set version and split" in page
    assert "drawn differently: evaluate both again" in page


def test_an_evaluation_without_draws_says_what_to_do(client):
    version = make_dataset_version()
    page = client.get(address(result(0.4, version), make_result(ap=0.3, dataset_version=version))).content.decode()
    assert "no draws are stored: evaluate again" in page


@pytest.mark.parametrize(
    ("flag", "why"), [("evaluators_disagree", "count one of them differently"), ("thresholded", "a lower bound of AP")]
)
def test_a_doubted_number_beats_nothing_and_is_not_offered(client, flag, why):
    version = make_dataset_version()
    sound, doubted = result(0.40, version), result(0.45, version, model="ssd_resnet10", flags=(flag,))
    page = client.get(address(sound, doubted)).content.decode()
    assert why in page and "beats the other" not in page
    assert f'<option value="{doubted.uuid}">' not in client.get(address(sound)).content.decode()


def test_images_of_a_handful_of_groups_give_no_verdict(client):
    version = make_dataset_version()
    rows = [result(0.45, version), result(0.40, version, model="ssd_resnet10")]
    for row in rows:
        row.evaluation.result["accuracy"]["bootstrap"]["groups_ignored"] = True
        row.evaluation.save()
    page = client.get(address(*rows)).content.decode()
    assert "too few groups to tell a difference from chance" in page and "beats the other" not in page


def test_only_differing_lines_are_shown_until_all_are_asked_for():
    version = make_dataset_version()
    rows = [result(0.45, version), result(0.40, version, model="ssd_resnet10")]
    titles = [row.title for row in comparison_rows(rows, all_rows=False)]
    assert "AP" in titles and "Data set" not in titles
    assert "Data set" in [row.title for row in comparison_rows(rows, all_rows=True)]


def test_the_best_number_of_a_line_is_marked_unless_shared():
    version = make_dataset_version()
    rows = [result(0.45, version, p50_ms=30.0), result(0.40, version, p50_ms=20.0)]
    best = {row.title: row.best for row in comparison_rows(rows, all_rows=True)}
    assert (best["AP"], best["p50, ms"], best["Size"]) == (0, 1, None)


def test_broken_and_unknown_ids_are_passed_over(client):
    row = result(0.45, make_dataset_version())
    assert [one.pk for one in chosen_results(f"nonsense,{row.uuid},{row.uuid},00000000-0000-0000-0000-000000000000")] == [row.pk]
    assert client.get("/compare?results=nonsense").status_code == 200
    assert "Nothing to compare yet" in client.get("/compare").content.decode()


def test_another_result_on_the_same_images_can_be_added(client):
    version = make_dataset_version()
    row, other = result(0.45, version), result(0.40, version, model="ssd_resnet10")
    assert f'<option value="{other.uuid}">' in client.get(address(row)).content.decode()
    assert "Who beats whom" in client.get(address(row) + f"&add={other.uuid}").content.decode()
