"""The health report of a data set: everything a reader found wrong, by file, with what was done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from detection_core.schemas.results import HealthIssue, HealthReport

MAX_ISSUES = 1000


class HealthLog:
    """Collects issues while a data set is read; `report()` gives the first 1,000 of them and the counts of all.

    With `earlier` it goes on from a report that exists; of the codes `told_once` it takes no more where that report has some.
    """

    def __init__(self, earlier: HealthReport | None = None, *, told_once: Container[str] = ()) -> None:
        self._issues: list[HealthIssue] = list(earlier.issues) if earlier else []
        self._counts: Counter[str] = Counter(earlier.counts if earlier else {})
        self._told = {code for code in self._counts if code in told_once}

    def add(self, code: str, file: str, problem: str, action: str) -> None:
        """Note one issue. `code` is the word it is counted under, e.g. `zero_size_box`."""
        if code in self._told:
            return
        self._counts[code] += 1
        if len(self._issues) < MAX_ISSUES:
            self._issues.append(HealthIssue(file=file, problem=problem, action=action))

    def report(self) -> HealthReport:
        """Return what was found so far."""
        return HealthReport(issues=tuple(self._issues), counts=dict(sorted(self._counts.items())))
