"""The rows of a comparison: each number and each condition, over all results; differences first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from webapp.results.models import Result
from webapp.results.presentation import passport
from webapp.templatetags.show import ap, backend_title, bytesize, decimals, family_title, fps, ms


@dataclass(frozen=True)
class ComparedRow:
    """One line of the table; `best` is the place of the best value, where there is one and it is alone."""

    title: str
    cells: list[str]
    numeric: bool
    differs: bool
    best: int | None = None


# title, value, how it reads, whether more is better (None: a condition)
Line = tuple[str, Callable[[Result], object], Callable[..., str], bool | None]
LINES: tuple[Line, ...] = (
    ("AP", lambda row: row.ap, ap, True),
    (
        "AP, 95% interval",
        lambda row: (row.ap_low, row.ap_high),
        lambda pair: "–" if pair[0] is None else f"{ap(pair[0])}–{ap(pair[1])}",
        None,
    ),
    ("AP50", lambda row: row.ap50, ap, True),
    ("AP75", lambda row: row.ap75, ap, True),
    ("AP small", lambda row: row.ap_small, ap, True),
    ("Small-object recall", lambda row: row.small_recall, ap, True),
    ("p50, ms", lambda row: row.p50_ms, ms, False),
    ("p95, ms", lambda row: row.p95_ms, ms, False),
    ("FPS", lambda row: row.fps, fps, True),
    ("Size", lambda row: row.size_bytes, bytesize, False),
    ("Parameters, M", lambda row: row.params_m, decimals, False),
    ("MACs, G", lambda row: row.macs_g, decimals, False),
    ("Family", lambda row: row.family, family_title, None),
    ("Backend", lambda row: row.backend, backend_title, None),
    ("dtype", lambda row: row.dtype, str, None),
    ("Input, px", lambda row: row.input_size, str, None),
    ("Data set", lambda row: f"{row.dataset_version} {row.split}", str, None),
    ("Machine", lambda row: row.environment.title, str, None),
    ("Protocol", passport, str, None),
    ("Licence", lambda row: row.licence, str, None),
    ("Flags", lambda row: ", ".join(flag.replace("_", " ") for flag in row.flags) or "none", str, None),
)


def comparison_rows(results: Sequence[Result], *, all_rows: bool) -> list[ComparedRow]:
    """Return the lines in which the results differ, or all."""
    rows = [_row(line, results) for line in LINES]
    return [row for row in rows if all_rows or row.differs]


def _row(line: Line, results: Sequence[Result]) -> ComparedRow:
    title, value, shown, more = line
    values = [value(result) for result in results]
    return ComparedRow(
        title=title,
        cells=[shown(one) for one in values],
        numeric=more is not None,
        differs=len(set(values)) > 1,
        best=_best(values, more) if more is not None else None,
    )


def _best(values: Sequence[object], more: bool) -> int | None:
    known = [one for one in values if isinstance(one, int | float)]
    if len(known) < 2:
        return None
    best = max(known) if more else min(known)
    places = [place for place, one in enumerate(values) if one == best]
    return places[0] if len(places) == 1 else None
