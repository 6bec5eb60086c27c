"""Reads for the comparison of results: the chosen ones, what differs in their conditions, and paired differences of AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from uuid import UUID

from detection_core.evaluation.paired import PairedDifference, holm, paired_difference, winner
from webapp.results.accuracy import curves_of
from webapp.results.comparable import UNFIT, bootstrap_of, draws_obstacle
from webapp.results.models import Result
from webapp.results.selectors import output_of, results_with_relations

FEWEST, MOST = 2, 8
NUMBERS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "AP small", "ar_100": "AR 100"}
UNDEFINED = "undefined: the split has no such objects"


@dataclass(frozen=True)
class Verdict:
    """Two results on the same draws. `p_holm` is corrected for all pairs of the page; only it decides."""

    first: Result
    second: Result
    found: PairedDifference | None
    p_holm: float | None
    obstacle: str = ""

    @property
    def winner(self) -> Result | None:
        """The one that beats the other, None where no difference is shown."""
        if self.found is None or self.p_holm is None:
            return None
        return {"first": self.first, "second": self.second, None: None}[winner(self.found, self.p_holm)]


def chosen_results(text: str) -> list[Result]:
    """Return the results whose ids stand in `text`, comma separated, in that order, at most eight; what is not there is passed over."""
    wanted = list(dict.fromkeys(filter(None, map(_uuid, text.split(",")))))[:MOST]
    rows = {row.uuid: row for row in results_with_relations().defer(None).select_related("evaluation__job").filter(uuid__in=wanted)}
    return [rows[uuid] for uuid in wanted if uuid in rows]


def verdicts(results: Sequence[Result], *, number: str = "ap") -> list[Verdict]:
    """Compare every pair on the bootstrap draws that both evaluations share, with Holm's correction over the pairs."""
    curves = {row.pk: _curves(row) for row in results}
    pairs = [(first, second, _obstacle(first, second, curves)) for first, second in combinations(results, 2)]
    found = [None if obstacle else _paired(first, second, curves, number) for first, second, obstacle in pairs]
    corrected = iter(holm([one.p for one in found if one is not None]))
    return [
        Verdict(first, second, one, None if one is None else next(corrected), obstacle or ("" if one else UNDEFINED))
        for (first, second, obstacle), one in zip(pairs, found, strict=True)
    ]


def _paired(first: Result, second: Result, curves: dict[int, dict[str, Any]], number: str) -> PairedDifference | None:
    draws = [curves[row.pk]["draws"][number] for row in (first, second)]
    values = [row.evaluation.result["metrics"][number] for row in (first, second) if row.evaluation]
    return None if None in values else paired_difference(draws[0], draws[1], values[0], values[1])


def comparable_with(result: Result, *, most: int = 50) -> list[Result]:
    """Return other results on the same data and split, best first: what can be added to a comparison."""
    same = results_with_relations().filter(
        dataset_version__content_hash=result.dataset_version.content_hash, split=result.split, evaluation__isnull=False
    )
    for flag in UNFIT:
        same = same.exclude(flags__contains=[flag])
    return list(same.exclude(pk=result.pk).order_by("-ap", "id")[:most])


def _curves(row: Result) -> dict[str, Any]:
    return curves_of(output_of(row.evaluation.job, "curves")) if row.evaluation else {}


def _obstacle(first: Result, second: Result, curves: dict[int, dict[str, Any]]) -> str:
    """Why two results cannot be compared, in words; "" where they can."""
    for flag, why in UNFIT.items():
        if flag in first.flags or flag in second.flags:
            return why
    if first.dataset_version.content_hash != second.dataset_version.content_hash or first.split != second.split:
        return "other images: evaluate both on the same data set version and split"
    drawn = all(curves[row.pk].get("draws") for row in (first, second))
    return draws_obstacle(bootstrap_of(first.evaluation), bootstrap_of(second.evaluation), drawn=drawn)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None
