"""What stands at a score threshold: the numbers of the whole split, and those of every image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from webapp.gallery.examples import CLS, IGNORED, LOC, TP, Examples
from webapp.templatetags.show import ap, counted

MOST_STEPS = 200
STEP_SIZES = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005)


@dataclass(frozen=True)
class Numbers:
    """Counts of the whole split at a threshold, at IoU 0.5, as the operating point of the accuracy card counts them."""

    score: float
    right: int
    kept: int
    objects: int
    images: int

    @property
    def false(self) -> int:
        """False positives."""
        return self.kept - self.right

    @property
    def missed(self) -> int:
        """Objects that are not found."""
        return self.objects - self.right

    @property
    def precision(self) -> float | None:
        """The share of detections that are right, None of nothing."""
        return self.right / self.kept if self.kept else None

    @property
    def recall(self) -> float | None:
        """The share of objects that are found, None of nothing."""
        return self.right / self.objects if self.objects else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall, None where no object is there."""
        return 2 * self.right / (self.kept + self.objects) if self.objects else None

    @property
    def false_per_image(self) -> float:
        """False positives per image."""
        return self.false / max(self.images, 1)


def numbers_at(examples: Examples, score: float) -> Numbers:
    """Count what detections of at least `score` get right and wrong; `score` is above the floor of the file."""
    return Numbers(
        score=score,
        right=_at_least(examples.right_scores, score),
        kept=_at_least(examples.counted_scores, score),
        objects=examples.objects,
        images=len(examples),
    )


def _at_least(rising: np.ndarray, score: float) -> int:
    return len(rising) - int(np.searchsorted(rising, score, side="left"))


def score_words(score: float) -> str:
    """Write a score with three or four decimals; one below a thousandth with two digits."""
    return f"{score:.4f}".removesuffix("0") if score >= 0.001 else f"{score:.2g}"


def operating_words(examples: Examples) -> str:
    """Write the operating point as other pages do. No other step of the slider reads like it, so an address names it by this."""
    score = examples.score_thresh
    return f"{score:.3f}" if score >= 0.01 else f"{score:.2g}"


def score_words_of(examples: Examples, score: float) -> str:
    """Write a threshold as an address names it: the operating point in its own words."""
    return operating_words(examples) if score == examples.score_thresh else score_words(score)


def usable_score(examples: Examples, wanted: str) -> float:
    """Return the threshold that an address asks for, the operating point by default; never at or under the floor of the file."""
    text = wanted.strip().replace(",", ".")
    try:
        score = float(text)
    except ValueError:
        return examples.score_thresh
    if not math.isfinite(score) or text == operating_words(examples):
        return examples.score_thresh
    score = float(score_words(min(score, 1.0)))
    if score_words(score) == operating_words(examples):
        return examples.score_thresh
    return score if score > examples.score_floor else _grid(examples)[0]


def score_steps(examples: Examples, *also: float) -> list[float]:
    """Return the thresholds that the slider stops at, rising: an even grid above the floor up to the best score, the operating point,
    and those of `also`."""
    operating = operating_words(examples)
    others = (step for step in {*_grid(examples), *also} if score_words(step) != operating)
    return sorted({*others, examples.score_thresh})


def _grid(examples: Examples) -> list[float]:
    floor = examples.score_floor
    top = max(float(examples.scores.max(initial=0.0)), examples.score_thresh)
    size = next((size for size in STEP_SIZES if (top - floor) / size <= MOST_STEPS), STEP_SIZES[-1])
    first = math.floor(floor / size + 1e-9) + 1
    last = max(math.ceil(top / size - 1e-9), first)
    return [round(step * size, 6) for step in range(first, last + 1)]


def slider(examples: Examples, score: float) -> dict[str, Any]:
    """Return the slider of a page at `score`: its place, the last place, that of the operating point, the numbers in words there, and
    for the page's script every threshold with the numbers in words at each."""
    steps = score_steps(examples, score)
    rows = [_words(examples, step) for step in steps]
    place = steps.index(score) if score in steps else steps.index(examples.score_thresh)
    return {
        "place": place,
        "last": len(steps) - 1,
        "operating": steps.index(examples.score_thresh),
        "operating_words": operating_words(examples),
        "floor_words": f"{examples.score_floor:.3g}",
        "now": rows[place],
        "summary": {"scores": steps, "words": {name: [row[name] for row in rows] for name in rows[0]}},
    }


def _words(examples: Examples, score: float) -> dict[str, str]:
    """Each number of the whole split at a threshold, as the page shows it."""
    found = numbers_at(examples, score)
    return {
        "score": score_words_of(examples, score),
        "precision": ap(found.precision),
        "recall": ap(found.recall),
        "f1": ap(found.f1),
        "false_per_image": f"{found.false_per_image:.2f}",
        "right": counted(found.right),
        "false": counted(found.false),
        "missed": counted(found.missed),
    }


@dataclass(frozen=True, eq=False)
class AtScore:
    """Every detection and object at one threshold. Masks are bool, over all detections or over all ground truth."""

    examples: Examples
    score: float

    @cached_property
    def kept(self) -> np.ndarray:
        """Detections of at least the score."""
        return self.examples.scores >= self.score

    @cached_property
    def right(self) -> np.ndarray:
        """Detections that find an object."""
        return self.kept & (self.examples.kinds == TP)

    @cached_property
    def false(self) -> np.ndarray:
        """Detections that are wrong; those that a crowd excuses are neither right nor wrong."""
        return self.kept & (self.examples.kinds != TP) & (self.examples.kinds != IGNORED)

    @cached_property
    def missed(self) -> np.ndarray:
        """Objects that are not found."""
        return ~self.examples.truth_crowd & (self.examples.truth_scores < self.score)

    @cached_property
    def unexplained(self) -> np.ndarray:
        """TIDE's misses: objects not found that no detection of another class or with a loose box is about either."""
        near = self.kept & np.isin(self.examples.kinds, (CLS, LOC)) & (self.examples.partner >= 0)
        explained = np.zeros(len(self.missed), bool)
        explained[self.examples.partner[near]] = True
        return self.missed & ~explained

    @cached_property
    def errors(self) -> np.ndarray:
        """False positives and misses of each image, int64 [images]."""
        return self.per_image(detections=self.false) + self.per_image(truth=self.missed)

    def per_image(self, *, detections: np.ndarray | None = None, truth: np.ndarray | None = None) -> np.ndarray:
        """Count the detections or the objects of a mask in each image, int64 [images]."""
        examples = self.examples
        image = examples.image[detections] if detections is not None else examples.truth_image[truth]
        return np.bincount(image, minlength=len(examples))

    @cached_property
    def lowest_find(self) -> np.ndarray:
        """The lowest score with which something is found in each image, infinite where nothing is, float64 [images]."""
        lowest = np.full(len(self.examples), np.inf)
        np.minimum.at(lowest, self.examples.image[self.right], self.examples.scores[self.right])
        return lowest
