"""What the numbers of a study say, in sentences that are made from them and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from detection_core.catalogue.studies import Pattern
from webapp.studies.outcome import Difference, Outcome
from webapp.templatetags.show import ap, ms

FEW_TRAININGS = 5


def outcome_sentences(outcome: Outcome) -> list[str]:
    """Return what is shown and what is not, how papers have it, the highest mean, how little the trainings tell; [] without numbers."""
    if not outcome.measured:
        return []
    sentences = [
        *_patterns(outcome),
        *_shown(outcome),
        *_not_shown(outcome),
        *_untold(outcome),
        *_papers(outcome),
        *_highest(outcome),
        *_latencies(outcome),
        _trainings(outcome),
    ]
    return [sentence for sentence in sentences if sentence]


def _shown(outcome: Outcome) -> list[str]:
    return [
        f"{_first_up(one.winner.label)} beats {_other(one)}{_where(one)} by {ap(abs(one.found.difference))} AP ({_interval(one)})."
        for one in outcome.differences
        if one.winner and one.found and one.comparison.pattern is None
    ]


def _patterns(outcome: Outcome) -> list[str]:
    told: dict[Pattern, list[Difference]] = {}
    for one in outcome.differences:
        if one.comparison.pattern and one.found:
            told.setdefault(one.comparison.pattern, []).append(one)
    return [sentence for pattern, alike in told.items() for sentence in _summed_up(pattern, alike)]


def _summed_up(pattern: Pattern, alike: Sequence[Difference]) -> list[str]:
    """Tell in how many of the comparisons the arm wins, and in how many the baseline does."""
    both = (
        (f"{pattern.arm} beats {pattern.baseline}", [one for one in alike if one.winner is one.arm]),
        (f"{pattern.baseline} beats {pattern.arm}", [one for one in alike if one.winner is one.baseline]),
    )
    return [
        _first_up(f"{pattern.where} {words} in {len(won)} of {len(alike)} comparisons, by {_span(won)} AP.".strip())
        for words, won in both
        if won
    ]


def _span(won: Sequence[Difference]) -> str:
    sizes = sorted(abs(one.found.difference) for one in won if one.found)
    least, most = ap(sizes[0]), ap(sizes[-1])
    return least if least == most else f"{least} to {most}"


def _other(one: Difference) -> str:
    return one.baseline.label if one.winner is one.arm else one.arm.label


def _where(one: Difference) -> str:
    return f", tested at {one.tested}," if one.tested else ""


def _interval(one: Difference) -> str:
    if one.found is None:
        return "–"
    ends = sorted((abs(one.found.low), abs(one.found.high)))
    return f"{ap(ends[0])} to {ap(ends[1])}"


def _not_shown(outcome: Outcome) -> list[str]:
    told = [one for one in outcome.differences if one.found]
    without = [one for one in told if one.winner is None]
    if not without:
        return []
    if len(without) == len(told):
        count = "the one comparison" if len(told) == 1 else f"any of the {len(told)} comparisons"
        return [f"No difference is shown in {count}."]
    if len(without) == 1:
        one = without[0]
        return [f"Between {one.arm.label} and {one.baseline.label}{_where(one)} no difference is shown."]
    return [f"In the other {len(without)} of {len(told)} comparisons no difference is shown."]


def _untold(outcome: Outcome) -> list[str]:
    count = sum(one.found is None for one in outcome.differences)
    return [f"{count} comparison{' cannot' if count == 1 else 's cannot'} be made yet."] if count else []


def _papers(outcome: Outcome) -> list[str]:
    """How many of the differences that are shown have the sign that they have in a paper's table."""
    shown = [one for one in outcome.differences if one.winner and one.comparison.paper]
    same = sum((one.winner is one.arm) == ((one.comparison.paper or 0.0) > 0) for one in shown)
    if len(shown) > 1:
        return [f"{len(shown)} of the shown differences stand in a paper's table too; {same or 'none'} of them with the same sign."]
    return [f"One of the shown differences stands in a paper's table too, with the {'same' if same else 'other'} sign."] if shown else []


def _highest(outcome: Outcome) -> list[str]:
    """The highest mean of each tested data set, where two arms or more have one; it is no verdict."""
    said = []
    for place, _ in enumerate(outcome.study.tests):
        found = [(row.cells[place], row.arm) for row in outcome.rows]
        means = [(cell.ap.mean, arm.label, cell.title) for cell, arm in found if cell.ap]
        if len(means) > 1:
            mean, label, title = max(means)
            said.append(f"{label}, {ap(mean)}" + (f", tested at {title}" if title else ""))
    return [f"Highest mean AP: {'; '.join(said)}."] if said else []


def _latencies(outcome: Outcome) -> list[str]:
    timed = [f"{row.arm.short} {ms(row.latency_ms)} ms" for row in outcome.rows if row.latency_ms is not None]
    return [f"Median latency, end to end: {', '.join(timed)}."] if timed else []


def _trainings(outcome: Outcome) -> str:
    most = max((one.found.seeds for one in outcome.differences if one.found), default=0)
    if most == 1:
        return "One training of each arm: the chance in a training is not in these intervals; train with other seeds to see it."
    return f"At most {most} trainings of an arm: they tell little of the chance in a training." if 1 < most < FEW_TRAININGS else ""


def difference_words(one: Difference) -> str:
    """Return the verdict of one comparison."""
    if one.found is None:
        return one.obstacle
    return f"{one.winner.label} beats the other" if one.winner else "no difference is shown"


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
