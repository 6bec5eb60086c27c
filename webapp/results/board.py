"""The columns and ranks of the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.results.models import Result
from webapp.results.presentation import passport
from webapp.results.selectors import SORTS, BoardFilters, Page, result_query


@dataclass(frozen=True)
class Column:
    """A column's head: words, unit, scope, and what a click on it sorts by."""

    key: str
    title: str
    unit: str = ""
    scope: str = ""
    numeric: bool = True
    falling: bool = True


COLUMNS = (
    Column("model", "Model", numeric=False, falling=False),
    Column("", "Backend", numeric=False),
    Column("", "dtype", numeric=False),
    Column("", "Input", "px"),
    Column("ap", "AP", "95% interval", "COCO"),
    Column("ap50", "AP50"),
    Column("ap75", "AP75"),
    Column("ap_small", "AP small"),
    Column("p50_ms", "p50", "ms", "end to end", falling=False),
    Column("p95_ms", "p95", "ms", "end to end", falling=False),
    Column("fps", "FPS", scope="end to end"),
    Column("params_m", "Params", "M", falling=False),
    Column("macs_g", "MACs", "G", falling=False),
    Column("size_bytes", "Size", falling=False),
    Column("", "Flags", numeric=False),
    Column("", "Front", numeric=False),
    Column("", "Protocol", numeric=False),
    Column("", "Data set", numeric=False),
    Column("", "Machine", numeric=False),
)
RANKED = frozenset(SORTS) - {"model", "created_at"}


@dataclass(frozen=True)
class Head:
    """A column as the page shows it now: `order` is "", "ascending" or "descending"; `sort` is what a click asks for."""

    column: Column
    order: str
    sort: str


@dataclass(frozen=True)
class Row:
    """A result with its rank under the page's sorting (`2=` where others share it) and its protocol in one tag."""

    rank: str
    result: Result
    passport: str


def board_heads(filters: BoardFilters) -> list[Head]:
    """Return the heads of all columns under the present sorting."""
    return [_head(column, filters.sort) for column in COLUMNS]


def _head(column: Column, sort: str) -> Head:
    name = sort.removeprefix("-")
    if not column.key or column.key != name:
        return Head(column=column, order="", sort=f"-{column.key}" if column.falling else column.key)
    descending = sort.startswith("-")
    return Head(column=column, order="descending" if descending else "ascending", sort=name if descending else f"-{name}")


def board_rows(page: Page, filters: BoardFilters) -> list[Row]:
    """Return the page's rows with ranks. One query, and one more for neighbours on other pages."""
    ranks = _ranks(page, filters)
    return [Row(rank=rank, result=row, passport=passport(row)) for rank, row in zip(ranks, page.rows, strict=True)]


def _ranks(page: Page, filters: BoardFilters) -> list[str]:
    name = filters.sort.removeprefix("-")
    if name not in RANKED or not page.rows:
        return ["" for _ in page.rows]
    values = [getattr(row, SORTS[name]) for row in page.rows]
    known = [value for value in values if value is not None]
    if not known:
        return ["–" for _ in values]
    query = result_query(filters)
    better = "gt" if filters.sort.startswith("-") else "lt"
    before = query.filter(**{f"{SORTS[name]}__{better}": known[0]}).count()
    edges = {value: query.filter(**{SORTS[name]: value}).count() for value in {known[0], known[-1]}}
    counts = {value: edges.get(value, known.count(value)) for value in known}
    ranks, place = {}, before + 1
    for value, count in counts.items():
        ranks[value] = f"{place}=" if count > 1 else str(place)
        place += count
    return ["–" if value is None else ranks[value] for value in values]
