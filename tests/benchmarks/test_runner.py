"""The bench: rounds are interleaved, a missed mark is told as missed, a broken row does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.catalogue import ROWS
from benchmarks.report import cells_of, write_report
from benchmarks.row import Arm, Mark, Options, Row
from benchmarks.rows import front, scoring
from benchmarks.runner import Figures, mark_met, paired_ratio, run_row, run_rows
from benchmarks.stack import Stack
from detection_core.evaluation.coco_files import write_detections
from detection_core.evaluation.coco_metrics import coco_metrics


def _row(mark: Mark, **figures: list[float]) -> tuple[Row, list[str]]:
    calls: list[str] = []

    @contextmanager
    def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
        def arm(name: str) -> Arm:
            left = iter(figures[name])

            def figure() -> float:
                calls.append(name)
                return next(left)

            return figure

        yield {name: arm(name) for name in figures}

    return Row("row", "a row", "s", mark, arms, rounds=3, quick_rounds=2), calls


def test_rounds_are_interleaved() -> None:
    row, calls = _row(Mark("speedup", 2), ours=[1, 1, 1], theirs=[3, 3, 3])
    run_row(row, quick=False, stack=Stack())
    assert calls == ["ours", "theirs"] * 3


def test_a_quick_run_takes_fewer_rounds() -> None:
    row, calls = _row(Mark("median", 2), ours=[1, 1, 1])
    assert len(run_row(row, quick=True, stack=Stack()).figures[0].values) == len(calls) == 2


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert paired_ratio([Figures("ours", (1.0, 10.0, 2.0)), Figures("theirs", (2.0, 40.0, 6.0))]) == 3.0
    assert paired_ratio([Figures("ours", (1.0,))]) is None


@pytest.mark.parametrize(
    ("mark", "median", "ratio", "met"),
    [
        (Mark("median", 5), 5.0, None, True),
        (Mark("median", 5), 5.1, None, False),
        (Mark("speedup", 20), 1.0, 20.0, True),
        (Mark("speedup", 20), 1.0, 19.9, False),
        (Mark("overhead", 1.25), 1.0, 0.8, True),
        (Mark("overhead", 1.25), 1.0, 0.79, False),
    ],
)
def test_a_mark_is_met_up_to_its_limit(mark: Mark, median: float, ratio: float | None, met: bool) -> None:
    assert mark_met(mark, median, ratio) is met


def test_a_missed_mark_is_printed_as_missed() -> None:
    row, _ = _row(Mark("median", 1), ours=[2, 2, 2])
    cells = cells_of(run_row(row, quick=False, stack=Stack()))
    assert cells[-1] == "MISSED"
    assert cells[2] == "2 s (2 to 2)"


def test_a_broken_row_is_told_and_the_others_still_run(tmp_path: Path) -> None:
    broken, _ = _row(Mark("median", 1), ours=[])
    sound, _ = _row(Mark("median", 1), ours=[1, 1, 1])
    outcomes = run_rows([broken, sound], quick=False, on_row=lambda outcome: None)
    assert [bool(outcome.problem) for outcome in outcomes] == [True, False]
    as_json, as_text = write_report(outcomes, tmp_path, quick=False)
    rows = json.loads(as_json.read_text())["rows"]
    assert rows[0]["problem"] and rows[1]["met"] and rows[1]["arms"][0]["values"] == [1, 1, 1]
    assert "FAILED" in as_text.read_text()


def test_every_row_of_the_catalogue_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 7


def test_the_generated_detections_score_alike_in_both_evaluators() -> None:
    truth, table = scoring.generated(20)
    ours, _ = coco_metrics(truth, table, engine="hotcoco")
    theirs, _ = coco_metrics(truth, table, engine="pycocotools")
    assert ours == theirs
    assert ours.ap is not None and 0.02 < ours.ap < 0.9, "a set that is all right or all wrong would measure nothing"


def test_the_score_job_tells_times_and_memory(tmp_path: Path) -> None:
    truth, table = scoring.generated(12)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    write_detections(tmp_path / "dt.json.gz", table)
    scored = scoring.score_in_child(tmp_path)
    assert scored.interval_s > 0
    assert 0.02 < scored.memory_gib < 8


def test_the_row_of_the_front_runs(tmp_path: Path) -> None:
    with front.arms(Options(quick=True, folder=tmp_path, stack=Stack())) as arms:
        assert arms["pareto_front"]() > 0
