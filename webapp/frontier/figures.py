"""The frontier figure as Plotly JSON, plain dicts. Colours are the style sheet's variables; js/figure.js resolves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any

from django.urls import reverse

from detection_core.catalogue.published import PublishedResult
from webapp.frontier.published import family_of
from webapp.results.models import Result
from webapp.templatetags.show import ap, backend_title, bytesize, family_slot, family_title, fps, model_title, ms

MARKERS = {"eager": "circle", "onnxruntime": "square", "openvino": "diamond", "compiled": "triangle-up", "tensorrt": "star"}
# Full for fp32; a dot in the middle for narrower types, on a ring for int8.
FILLS = {"fp32": "", "fp16": "-dot", "bf16": "-dot", "int8": "-open-dot"}
HOLLOW = ("circle-open", "square-open", "diamond-open", "triangle-up-open", "triangle-down-open", "pentagon-open", "star-open", "x-open")
FAMILY_COLOURS = 11  # --family-0 to --family-10
PLOT_WIDTH_PX, PLOT_HEIGHT_PX = 1100, 440
LABEL_HEIGHT_PX, LETTER_PX = 18, 7
Figure = dict[str, Any]


def frontier_figure(points: Sequence[Result], flagged: Sequence[Result], front: Sequence[Result]) -> Figure:
    """Draw AP against median latency: points by family and backend, flagged ones hollow, the front as one stepped line.

    Args:
        points: complete results without flags; those not on the front are drawn faint.
        flagged: complete results with flags.
        front: the group's front, fastest first.
    """
    points, flagged, front = _placed(points), _placed(flagged), _placed(front)
    drawn = [*points, *flagged, *front]
    latencies = [row.p50_ms or 1.0 for row in drawn] or [1.0]
    aps = [100 * (value or 0) for row in drawn for value in _span(row)] or [0.0]
    x_range, y_range = _log_range(latencies), _ap_range(aps)
    traces = [_front_line(front, x_range, y_range)] if front else []
    ordered = sorted(points, key=lambda row: (family_slot(row.family), row.family, row.backend))
    traces += [
        _points(family, backend, list(rows)) for (family, backend), rows in groupby(ordered, key=lambda row: (row.family, row.backend))
    ]
    if flagged:
        traces.append(_flagged(flagged))
    traces.append(
        {
            "type": "scatter",
            "x": [10 ** x_range[0]],
            "y": [y_range[0]],
            "xaxis": "x2",
            "mode": "markers",
            "opacity": 0,
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
    return {"data": traces, "layout": {**_layout(x_range, y_range), "annotations": _labels(front, x_range, y_range)}}


def _placed(rows: Sequence[Result]) -> list[Result]:
    """Those that a logarithmic axis has a place for."""
    return [row for row in rows if (row.p50_ms or 0.0) > 0]


def _points(family: str, backend: str, rows: list[Result]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{family_title(family)}, {backend_title(backend)}",
        "marker": {
            "symbol": [MARKERS.get(backend, "cross") + FILLS.get(row.dtype, "") for row in rows],
            "color": f"var(--family-{family_slot(family)})",
            "size": [11 if row.on_front else 8 for row in rows],
            "opacity": [1.0 if row.on_front else 0.45 for row in rows],
            "line": {"width": [1.5 if row.on_front else 0 for row in rows], "color": "var(--text)"},
        },
        **_coordinates(rows),
    }


def _flagged(rows: Sequence[Result]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "flagged",
        "marker": {
            "symbol": [f"{MARKERS.get(row.backend, 'cross')}-open" for row in rows],
            "color": "var(--muted)",
            "size": 8,
            "line": {"width": 1.5},
        },
        **_coordinates(rows),
    }


def _coordinates(rows: Sequence[Result]) -> Figure:
    return {
        "x": [row.p50_ms for row in rows],
        "y": [round(100 * (row.ap or 0), 3) for row in rows],
        "error_y": _error_bars(rows),
        "text": [hover_card(row) for row in rows],
        "customdata": [reverse("result-detail", args=[row.uuid]) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _span(row: Result) -> tuple[float | None, ...]:
    """AP with both ends of its interval where it has one."""
    return (row.ap,) if row.ap_low is None else (row.ap, row.ap_low, row.ap_high)


def _error_bars(rows: Sequence[Result]) -> Figure:
    """Thin bars over the 95% intervals of AP. A corrected interval may lie to one side of the number: then that bar has no length."""
    spans = [(row.ap or 0.0, row.ap_low, row.ap_high) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if high is None else round(100 * max(0.0, high - value), 3) for value, _, high in spans],
        "arrayminus": [0.0 if low is None else round(100 * max(0.0, value - low), 3) for value, low, _ in spans],
        "thickness": 1,
        "width": 0,
        "color": "var(--muted)",
    }


def hover_card(row: Result) -> str:
    """Return the row of the table as the lines of a hover card."""
    lines = [
        f"<b>{escape(model_title(row.model))}</b>",
        f"{escape(backend_title(row.backend))}, {escape(row.dtype)}, {row.input_size} px",
        f"AP {ap(row.ap)}{_interval(row)}, AP50 {ap(row.ap50)}",
        f"p50 {ms(row.p50_ms)} ms, p95 {ms(row.p95_ms)} ms, {fps(row.fps)} FPS",
        bytesize(row.size_bytes),
    ]
    if row.origin:
        lines.append("offline, measured on " + escape(row.origin))
    if row.flags:
        lines.append("flags: " + escape(", ".join(flag.replace("_", " ") for flag in row.flags)))
    return "<br>".join(lines)


def _interval(row: Result) -> str:
    return "" if row.ap_low is None else f" ({ap(row.ap_low)}–{ap(row.ap_high)})"


def _front_line(front: Sequence[Result], x_range: list[float], y_range: list[float]) -> Figure:
    """The best AP within each latency: a step up at every point of the front."""
    xs, ys = [row.p50_ms for row in front], [round(100 * (row.ap or 0), 3) for row in front]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "x": [xs[0], *xs, 10 ** x_range[1]],
        "y": [y_range[0], *ys, ys[-1]],
        "line": {"shape": "hv", "width": 2, "color": "var(--text)"},
        "hoverinfo": "skip",
    }


def _labels(front: Sequence[Result], x_range: list[float], y_range: list[float]) -> list[Figure]:
    """Names beside the points of the front, at its free side, upper left; a name that would cover another is left out."""
    kept: list[tuple[float, float, float]] = []
    rows: list[Result] = []
    for row in reversed(front):
        title = model_title(row.model)
        x = (math.log10(row.p50_ms or 1) - x_range[0]) / (x_range[1] - x_range[0]) * PLOT_WIDTH_PX
        y = (100 * (row.ap or 0) - y_range[0]) / (y_range[1] - y_range[0]) * PLOT_HEIGHT_PX
        width = LETTER_PX * len(title)
        if x > width and all(abs(y - other_y) > LABEL_HEIGHT_PX or x < other_x - other_width for other_x, other_y, other_width in kept):
            kept.append((x, y, width))
            rows.append(row)
    return [_label(row) for row in rows]


def _label(row: Result) -> Figure:
    """An annotation; its place on a logarithmic axis is the logarithm."""
    place = {"x": math.log10(row.p50_ms or 1), "y": 100 * (row.ap or 0), "xanchor": "right", "yanchor": "bottom", "xshift": -6, "yshift": 3}
    return {**place, "text": escape(model_title(row.model)), "showarrow": False, "font": {"size": 12, "color": "var(--text)"}}


def _log_range(values: Sequence[float]) -> list[float]:
    """The exponents that an axis shows: never less than a factor of five, so that two ticks or more always stand on it."""
    low, high = math.log10(min(values)), math.log10(max(values))
    missing = max(0.0, math.log10(5) - (high - low)) / 2
    low, high = low - missing, high + missing
    return [low - 0.16 * (high - low), high + 0.08 * (high - low)]


def _ap_range(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 2.0)
    return [max(0.0, low - margin), min(102.0, high + 1.6 * margin)]


def nice_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2, 5, 10, 20, 50, ... from `low` to `high`."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in (1, 2, 5) if low <= step * 10.0**decade <= high]


def _layout(x_range: list[float], y_range: list[float]) -> Figure:
    low, high = 10 ** x_range[0], 10 ** x_range[1]
    milliseconds, rates = nice_ticks(low, high), nice_ticks(1000 / high, 1000 / low)
    axis = {
        "gridcolor": "var(--grid)",
        "linecolor": "var(--border-strong)",
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": "var(--border-strong)",
    }
    below = {"type": "log", "range": x_range, "tickvals": milliseconds, "ticktext": [f"{value:g}" for value in milliseconds]}
    above = {
        "type": "log",
        "matches": "x",
        "overlaying": "x",
        "side": "top",
        "showgrid": False,
        "tickvals": [1000 / rate for rate in rates],
    }
    return {
        "xaxis": {**axis, **below, "title": {"text": "p50 latency, ms, end to end"}},
        "xaxis2": {**axis, **above, "ticktext": [f"{rate:g}" for rate in rates], "title": {"text": "FPS at that latency"}},
        "yaxis": {**axis, "range": y_range, "title": {"text": "AP, COCO AP@[.5:.95] × 100"}},
        "legend": {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0},
        "margin": {"l": 60, "r": 24, "t": 56, "b": 56},
        "hovermode": "closest",
    }


def published_figure(rows: Sequence[PublishedResult]) -> Figure:
    """Draw published figures of one machine: hollow points by family, no line, for nobody measured them alike."""
    x_range = _log_range([row.speed_ms or 1.0 for row in rows])
    y_range = _ap_range([100 * (row.ap or 0) for row in rows])
    ordered = sorted(rows, key=lambda row: (family_slot(family_of(row)), row.family))
    families = [list(found) for _, found in groupby(ordered, key=lambda row: row.family)]
    looks = _looks([family_slot(family_of(found[0])) for found in families])
    traces = [_published(found, *look) for found, look in zip(families, looks, strict=True)]
    layout = _layout(x_range, y_range)
    layout["xaxis"]["title"] = {"text": "published ms an image"}
    del layout["xaxis2"]
    layout["yaxis"]["title"] = {"text": "published AP × 100"}
    return {"data": traces, "layout": layout}


def _looks(slots: Sequence[int]) -> list[tuple[int, str]]:
    """Give each family of one figure a colour and a symbol that no other has together, its own colour where a symbol is left in it."""
    taken: set[tuple[int, str]] = set()
    found: list[tuple[int, str]] = []
    for slot in slots:
        free = ((colour, symbol) for colour in (slot, *range(FAMILY_COLOURS)) for symbol in HOLLOW)
        taken.add(look := next(look for look in free if look not in taken))
        found.append(look)
    return found


def _published(rows: list[PublishedResult], slot: int, symbol: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": rows[0].family,
        "marker": {
            "symbol": symbol,
            "color": f"var(--family-{slot})",
            "opacity": 0.6,
            "size": 9,
            "line": {"width": 1.5},
        },
        "x": [row.speed_ms for row in rows],
        "y": [round(100 * (row.ap or 0), 3) for row in rows],
        "text": [_published_card(row) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _published_card(row: PublishedResult) -> str:
    precision, side = row.precision or "precision not told", row.input_size or "not told"
    lines = [
        f"<b>{escape(row.title)}</b>",
        f"AP {ap(row.ap)}, {ms(row.speed_ms)} ms, {escape(row.batch_words)}, {escape(precision)}, input {escape(side)}",
        f"NMS: {row.includes_nms or 'not told'}",
        escape(row.source_title),
    ]
    return "<br>".join(lines)
