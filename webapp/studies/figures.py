"""The figure of a study as Plotly JSON: differences with their intervals beside the papers', or AP over the tested data sets."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from webapp.studies.outcome import ArmRow, Difference, Outcome
from webapp.studies.words import difference_words
from webapp.templatetags.show import ap, signed_ap

Figure = dict[str, Any]
AXIS = {"gridcolor": "var(--grid)", "linecolor": "var(--border-strong)", "zerolinecolor": "var(--border-strong)", "ticks": "outside"}
# By the data that an arm learns from.
COLOURS = ("var(--family-0)", "var(--family-1)", "var(--family-2)", "var(--family-3)")
MARKERS = ("circle", "square", "diamond", "triangle-up")


def study_figure(outcome: Outcome) -> Figure | None:
    """Return the figure of a run, None where there is nothing to draw."""
    if not outcome.measured:
        return None
    return _lines(outcome) if outcome.study.data else _dots(outcome.differences)


def _dots(differences: Sequence[Difference]) -> Figure | None:
    """A row for each comparison: ours with its interval, the papers' hollow."""
    names = [f"{one.arm.short} − {one.baseline.short}" for one in differences]
    ours = [(name, one) for name, one in zip(names, differences, strict=True) if one.found]
    theirs = [(name, one) for name, one in zip(names, differences, strict=True) if one.comparison.paper is not None]
    if not ours:
        return None
    traces = [_our_dots(ours), *([_their_dots(theirs)] if theirs else [])]
    layout = {
        "xaxis": {**AXIS, "zeroline": True, "rangemode": "tozero", "title": {"text": "difference of AP × 100", "standoff": 8}},
        "yaxis": {**AXIS, "type": "category", "categoryorder": "array", "categoryarray": names[::-1], "automargin": True},
        "legend": {"orientation": "h", "y": -0.32, "yanchor": "top", "x": 0},
        "margin": {"l": 120, "r": 24, "t": 24, "b": 56},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def _our_dots(rows: Sequence[tuple[str, Difference]]) -> Figure:
    found = [one.found for _, one in rows if one.found]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "here, with 95% interval",
        "x": [round(100 * one.difference, 3) for one in found],
        "y": [name for name, _ in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [round(100 * (one.high - one.difference), 3) for one in found],
            "arrayminus": [round(100 * (one.difference - one.low), 3) for one in found],
            "thickness": 1,
            "width": 4,
            "color": "var(--muted)",
        },
        "marker": {"symbol": "circle", "size": 9, "color": "var(--accent)"},
        "text": [_difference_card(one) for _, one in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _their_dots(rows: Sequence[tuple[str, Difference]]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "papers, on COCO",
        "x": [round(100 * (one.comparison.paper or 0.0), 3) for _, one in rows],
        "y": [name for name, _ in rows],
        "marker": {"symbol": "diamond-open", "size": 10, "color": "var(--text)", "opacity": 0.6, "line": {"width": 1.5}},
        "text": [f"{signed_ap(one.comparison.paper)} AP<br>{escape(one.comparison.source)}" for _, one in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _difference_card(one: Difference) -> str:
    if one.found is None:
        return ""
    numbers = f"{signed_ap(one.found.difference)} AP ({signed_ap(one.found.low)} to {signed_ap(one.found.high)})"
    return f"<b>{escape(one.arm.label)}</b><br>against {escape(one.baseline.label)}<br>{numbers}<br>{escape(difference_words(one))}"


def _lines(outcome: Outcome) -> Figure:
    """A line for each arm over what it was tested on; strong augmentation is dashed and hollow."""
    layout = {
        "xaxis": {**AXIS, "type": "category"},
        "yaxis": {**AXIS, "rangemode": "tozero", "title": {"text": "AP × 100"}},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        "margin": {"l": 60, "r": 24, "t": 24, "b": 56},
        "hovermode": "closest",
    }
    return {"data": [_line(outcome, row) for row in outcome.rows if any(cell.ap for cell in row.cells)], "layout": layout}


def _line(outcome: Outcome, row: ArmRow) -> Figure:
    place = outcome.study.tests.index(row.arm.data)
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    altered = bool(row.arm.recipe)
    cells = [(cell.title, cell.ap) for cell in row.cells if cell.ap]
    spans = [(one.mean, one.mean if one.low is None else one.low, one.mean if one.high is None else one.high) for _, one in cells]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": row.arm.label,
        "x": [title for title, _ in cells],
        "y": [round(100 * mean, 3) for mean, _, _ in spans],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(100 * max(0.0, high - mean), 3) for mean, _, high in spans],
            "arrayminus": [round(100 * max(0.0, mean - low), 3) for mean, low, _ in spans],
            "thickness": 1,
            "width": 0,
            "color": colour,
        },
        "line": {"color": colour, "width": 1.5, "dash": "dash" if altered else "solid"},
        "marker": {"symbol": f"{marker}-open" if altered else marker, "size": 9, "color": colour},
        "text": [f"<b>{escape(row.arm.label)}</b><br>tested at {escape(title)}: AP {ap(one.mean)}" for title, one in cells],
        "hovertemplate": "%{text}<extra></extra>",
    }
