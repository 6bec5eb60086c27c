"""Reads for the frontier page: one group, its points and its front."""

from __future__ import annotations

from dataclasses import dataclass, replace

from webapp.results.models import Result
from webapp.results.selectors import EVALUATORS_DISAGREE, BoardFilters, FrontGroup, front_groups, result_query

MOST_POINTS = 2000
MOST_ASIDE = 50


@dataclass(frozen=True)
class Frontier:
    """What the page draws: the chosen group, the others, points that match the chips, and the whole front of the group.

    `points` are candidates for the front (complete, without flags), `flagged` those with flags; `aside` cannot be drawn.
    """

    group: FrontGroup
    others: list[FrontGroup]
    points: list[Result]
    flagged: list[Result]
    front: list[Result]
    aside: list[Result]
    total: int

    @property
    def left_out(self) -> int:
        """How many matching results are not drawn because there are too many."""
        return self.total - len(self.points) - len(self.flagged)


def frontier(filters: BoardFilters) -> Frontier | None:
    """Return the group that the filters name, or the newest that matches them; None where none matches."""
    groups = front_groups(filters)
    if not groups:
        return None
    group = next((group for group in groups if group.key == filters.group), groups[0])
    inside = replace(filters, group=group.key, show="all", sort="p50_ms", page=1)
    shown = result_query(inside).select_related(None).exclude(backend="null")
    if filters.show != "all":
        shown = shown.exclude(flags__contains=[EVALUATORS_DISAGREE])
    drawable = shown.filter(complete=True, p50_ms__gt=0)
    newest = list(drawable.order_by("-on_front", "-id")[:MOST_POINTS])
    newest.sort(key=lambda row: (row.p50_ms, row.id))
    whole_group = result_query(BoardFilters(group=group.key, show="all", sort="p50_ms")).select_related(None)
    return Frontier(
        group=group,
        others=[other for other in groups if other.key != group.key],
        points=[row for row in newest if not row.flags],
        flagged=[row for row in newest if row.flags],
        front=list(whole_group.filter(on_front=True, p50_ms__gt=0)),
        aside=list(shown.filter(complete=False)[:MOST_ASIDE]),
        total=drawable.count(),
    )
