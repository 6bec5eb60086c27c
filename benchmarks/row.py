"""What a row of the report is: arms that each yield one figure a round, and a mark that the figures are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.stack import Stack

Arm = Callable[[], float]


@dataclass(frozen=True)
class Options:
    """How to run.

    Args:
        quick: take smaller inputs and fewer rounds.
        folder: an empty folder for the row's files.
        stack: a site with a worker, for rows that measure the whole; it starts at its first use.
    """

    quick: bool
    folder: Path
    stack: Stack


@dataclass(frozen=True)
class Mark:
    """What a row is held against.

    `median`: the first arm's median must not exceed `limit`. `speedup`: the second arm's figure over the first's must reach `limit`.
    `overhead`: the first arm's figure over the second's must not exceed `limit`.
    """

    kind: Literal["median", "speedup", "overhead"]
    limit: float


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: short, used with --only.
        what: what is measured, in one line.
        unit: of the figures; lower is better.
        mark: the target.
        arms: opens the arms by name, ours first; figures are taken from them in turn, round after round.
        rounds: how many rounds, and how many of a quick run.
    """

    name: str
    what: str
    unit: str
    mark: Mark
    arms: Callable[[Options], AbstractContextManager[Mapping[str, Arm]]]
    rounds: int = 5
    quick_rounds: int = 3
