"""What the figure draws, without a database."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from uuid import uuid4

import pytest

from webapp.frontier.figures import frontier_figure, hover_card, nice_ticks


def _row(model="fcos_resnet10_fpn", *, p50_ms=20.0, ap=0.4, backend="eager", dtype="fp32", on_front=False, flags=()):
    family = "ssd" if model.startswith("ssd") else "fcos"
    return SimpleNamespace(
        uuid=uuid4(), model=model, family=family, backend=backend, dtype=dtype, input_size=256, ap=ap, ap50=ap, p50_ms=p50_ms,
        p95_ms=p50_ms * 1.2, fps=1000 / p50_ms, size_bytes=2_000_000, flags=list(flags), on_front=on_front, origin="",
        ap_low=None, ap_high=None,
    )  # fmt: skip


def _trace(figure, name):
    return next(trace for trace in figure["data"] if trace.get("name") == name)


def test_one_trace_holds_one_family_and_backend():
    rows = [_row(), _row("ssd_resnet10"), _row(), _row(backend="onnxruntime")]
    names = [trace["name"] for trace in frontier_figure(rows, [], [])["data"] if trace.get("customdata")]
    assert sorted(names) == ["FCOS, ONNX Runtime", "FCOS, PyTorch eager", "SSD, PyTorch eager"]


def test_the_front_is_a_staircase_through_its_points():
    front = [_row(p50_ms=5, ap=0.2, on_front=True), _row(p50_ms=20, ap=0.5, on_front=True)]
    line = _trace(frontier_figure(front, [], front), "front")
    assert line["line"]["shape"] == "hv"
    assert line["line"]["width"] == 2
    assert line["x"][1:3] == [5, 20]
    assert line["y"][1:3] == [20.0, 50.0]
    assert line["y"][-1] == 50.0


def test_dominated_points_are_fainter_than_those_of_the_front():
    marker = _trace(frontier_figure([_row(on_front=True), _row(ap=0.1)], [], []), "FCOS, PyTorch eager")["marker"]
    assert marker["opacity"][0] == 1.0
    assert marker["opacity"][1] < 0.6


def test_flagged_points_are_hollow_and_grey():
    marker = _trace(frontier_figure([_row()], [_row(flags=("disturbed",))], []), "flagged")["marker"]
    assert marker["symbol"] == ["circle-open"]
    assert marker["color"] == "var(--muted)"


def test_every_point_leads_to_its_result():
    row = _row()
    trace = _trace(frontier_figure([row], [], []), "FCOS, PyTorch eager")
    assert trace["customdata"] == [f"/results/{row.uuid}"]


def test_names_of_the_front_never_cover_each_other():
    front = [_row(p50_ms=20 + step / 100, ap=0.4 + step / 10_000, on_front=True) for step in range(20)]
    assert len(frontier_figure(front, [], front)["layout"]["annotations"]) == 1


def test_a_single_point_has_an_axis_around_it():
    layout = frontier_figure([_row(p50_ms=20, ap=0.4)], [], [])["layout"]
    low, high = layout["xaxis"]["range"]
    assert low < math.log10(20) < high
    assert layout["yaxis"]["range"][0] < 40 < layout["yaxis"]["range"][1]


def test_fps_stands_at_its_latency_along_the_top():
    axis = frontier_figure([_row(p50_ms=5), _row(p50_ms=300)], [], [])["layout"]["xaxis2"]
    for position, words in zip(axis["tickvals"], axis["ticktext"], strict=True):
        assert position == pytest.approx(1000 / float(words))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.9, 60, [1, 2, 5, 10, 20, 50]), (3, 4, []), (0.1, 0.6, [0.1, 0.2, 0.5]), (100, 1000, [100, 200, 500, 1000])],
)
def test_ticks_are_ones_twos_and_fives(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_the_hover_card_escapes_names():
    assert "<script>" not in hover_card(_row("<script>x</script>"))


def test_the_figure_is_plain_json():
    front = [_row(on_front=True)]
    assert json.loads(json.dumps(frontier_figure(front, [_row(flags=("drift",))], front), allow_nan=False))


@pytest.mark.parametrize("latency_ms", [1.3, 3.0, 7.0, 33.0, 42.0, 700.0])
def test_even_a_single_latency_has_two_ticks_beside_it(latency_ms):
    axis = frontier_figure([_row(p50_ms=latency_ms)], [], [])["layout"]["xaxis"]
    assert len(axis["tickvals"]) >= 2
