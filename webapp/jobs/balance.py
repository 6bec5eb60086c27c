"""Who brings the classification loss of a training: objects or background, level by level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# What a training writes for each level, the finest 0: counts of places, and what part of the loss of all levels each side brought.
FIGURES = ("positives", "negatives", "positive_share", "negative_share")
_OF_A_LEVEL = re.compile(rf"({'|'.join(FIGURES)})_(\d+)")


@dataclass(frozen=True)
class LevelBalance:
    """One level of a detector over an epoch: places trained on objects and on background, and their parts of the loss, 0..1."""

    number: int
    positives: int
    negatives: int
    positive_share: float
    negative_share: float


@dataclass(frozen=True)
class LossBalance:
    """All levels, the finest first."""

    levels: tuple[LevelBalance, ...]

    @property
    def background_places(self) -> float:
        """Which part of the places is background, 0..1."""
        negatives = sum(level.negatives for level in self.levels)
        return negatives / max(negatives + sum(level.positives for level in self.levels), 1)

    @property
    def background_share(self) -> float:
        """Which part of the loss the background brings, 0..1."""
        return sum(level.negative_share for level in self.levels)


def loss_balance(points: Sequence[Mapping[str, float | None]]) -> LossBalance | None:
    """Return the balance that the newest of a training's points tells, None where none does (two stages, or an older training)."""
    for values in reversed(points):
        if "positives_0" in values:
            return LossBalance(tuple(_levels(values)))
    return None


def of_a_level(name: str) -> bool:
    """Say whether a value of a point belongs to one level, so that the list of values leaves it to the table of levels."""
    return _OF_A_LEVEL.fullmatch(name) is not None


def _levels(values: Mapping[str, float | None]) -> list[LevelBalance]:
    found: list[LevelBalance] = []
    while f"positives_{len(found)}" in values:
        positives, negatives, *shares = (values.get(f"{name}_{len(found)}") or 0.0 for name in FIGURES)
        found.append(LevelBalance(len(found), round(positives), round(negatives), *shares))
    return found
