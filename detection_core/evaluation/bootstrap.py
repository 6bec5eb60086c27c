"""Intervals of AP: images, or groups of images, drawn with replacement, and the averages taken anew over every draw.

Matching is done once (`matching`). A draw is a whole number of times that each unit counts, so its AP is COCO's accumulation with every
detection and object weighted by its unit: what pycocotools would say of a data set that holds the images so many times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from detection_core.evaluation.matching import IOU_THRESHOLDS, ClassMatches, Matches
from detection_core.schemas.accuracy import Bootstrap, Interval

DRAWS = 1000
LEAST_GROUPS = 10
# Fewer objects in half of the classes, and AP itself comes out too high by more than the draws can tell (docs/decisions/0005-intervals.md).
ENOUGH_OBJECTS = 100
LOW, HIGH = 2.5, 97.5
NUMBERS = ("ap", "ap50", "ap75", "ap_small", "ar_100")
# Draws at once: so many that the weighted counts of the largest class stay in the processor's cache.
CELLS_AT_ONCE, LEAST_AT_ONCE = 1 << 19, 16

_RECALLS = np.linspace(0.0, 1.0, 101)
_EPSILON = np.spacing(1)
_IOU_50, _IOU_75 = 0, 5


def bootstrap(
    matches: Matches, *, groups: Mapping[int, str | None] | None = None, seed: int = 0, draws: int = DRAWS
) -> tuple[Bootstrap, dict[str, np.ndarray]]:
    """Return 95% intervals of AP, AP50, AP75, AP small and AR 100, and every draw's values.

    Groups are drawn whole where every image has one and there are at least 10; else images are. The intervals are corrected for bias
    (`interval`).

    Args:
        matches: of the evaluated split.
        groups: group by image id.
        seed: with the units in their order and `draws` it fixes the draws, on any machine and version of numpy.

    Returns:
        The intervals, and by number float64 [draws], NaN where a draw holds no object that defines it.
    """
    unit, names, unit_of_image, ignored = _units(matches, groups or {})
    values: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
    for weights in draw_weights(len(names), draws=draws, seed=seed, at_once=_draws_at_once(matches)):
        for name, part in weighted_numbers(matches, weights[unit_of_image]).items():
            values[name].append(part)
    drawn = {name: np.concatenate(parts) for name, parts in values.items()}
    plain = weighted_numbers(matches, np.ones((len(unit_of_image), 1), np.int32))
    intervals = {name: interval(drawn[name], float(plain[name][0])) for name in NUMBERS}
    found = Bootstrap(
        draws=draws,
        seed=seed,
        unit=unit,
        units=len(names),
        key=draws_key(names, draws=draws, seed=seed),
        intervals=intervals,
        groups_ignored=bool(ignored),
        note="; ".join(filter(None, (ignored, _note_of_bias(matches, intervals["ap"], float(plain["ap"][0]))))),
    )
    return found, drawn


def draws_key(units: Sequence[str], *, draws: int, seed: int) -> str:
    """Return the sha256 of all that the draws depend on: results with the same key can be compared draw by draw."""
    return hashlib.sha256(json.dumps([1, list(units), draws, seed]).encode()).hexdigest()


def draw_weights(units: int, *, draws: int, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """Yield int32 [units, at most `at_once`]: how often each unit is in each of the next draws. The draws come one after another."""
    # RandomState, for numpy promises its stream never to change; Generator's may, and draws must pair across versions.
    random = np.random.RandomState(seed)
    for start in range(0, draws, at_once):
        weights = np.zeros((units, min(at_once, draws - start)), np.int32)
        for draw in range(weights.shape[1] if units else 0):
            weights[:, draw] = np.bincount(random.randint(0, units, size=units), minlength=units)
        yield weights


def _draws_at_once(matches: Matches) -> int:
    rows = max((len(one.images) for one in matches.all_sizes), default=0)
    return max(LEAST_AT_ONCE, CELLS_AT_ONCE // max(rows, len(matches.image_ids), 1))


def interval(draws: np.ndarray, value: float) -> Interval | None:
    """Return a 95% interval from the draws [B] that define the number, None where fewer than half do.

    The 2.5 and 97.5 percentiles, moved against the bias: AP takes the best precision at a recall or beyond, chance included, so it comes
    out too high, and a draw, which has more chance in it, higher still. How far the draws' mean lies above the number is the estimate of
    how far the number lies above the truth; the percentiles are moved by twice that. They may then leave the number itself outside.

    Args:
        draws: float64 [B], NaN where undefined.
        value: the number itself.
    """
    defined = draws[~np.isnan(draws)]
    if np.isnan(value) or 2 * defined.size < draws.size:
        return None
    bias = float(np.mean(defined)) - value
    low, high = np.clip(np.percentile(defined, [LOW, HIGH]) - 2 * bias, 0.0, 1.0).tolist()
    return Interval(low=low, high=high)


def weighted_numbers(matches: Matches, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return AP, AP50, AP75, AP small and AR 100 for images that count `weights` times.

    Args:
        weights: int32 [images, D] in the order of `matches.image_ids`; D sets of weights.

    Returns:
        By number float64 [D], NaN where no object defines it. With every weight 1 they are COCO's numbers.
    """
    precision, recall = _means(matches.all_sizes, weights)
    small, _ = _means(matches.small, weights)
    return {
        "ap": precision.mean(axis=0),
        "ap50": precision[_IOU_50],
        "ap75": precision[_IOU_75],
        "ap_small": small.mean(axis=0),
        "ar_100": recall.mean(axis=0),
    }


def _units(matches: Matches, groups: Mapping[int, str | None]) -> tuple[Literal["image", "group"], list[str], np.ndarray, str]:
    """Return the kind of unit, the units' names in order, each image's unit [images], and why groups that are known were not drawn."""
    ids = matches.image_ids.tolist()
    members: dict[str, list[int]] = {}
    for image in ids:
        if (name := groups.get(image)) is not None:
            members.setdefault(name, []).append(image)
    grouped = sum(map(len, members.values()))
    ignored = ""
    if 0 < grouped < len(ids):
        ignored = f"images were drawn, for {len(ids) - grouped} of {len(ids)} have no group"
    elif grouped and len(members) < LEAST_GROUPS:
        ignored = (
            f"images were drawn, for {len(members)} groups are fewer than {LEAST_GROUPS}; "
            "images of a group are alike, so the interval is too narrow"
        )
    elif grouped:
        names = sorted(members)
        place = {image: index for index, name in enumerate(names) for image in members[name]}
        return "group", [f"{name}: {members[name]}" for name in names], np.array([place[image] for image in ids]), ignored
    return "image", [str(image) for image in ids], np.arange(len(ids)), ignored


def _note_of_bias(matches: Matches, found: Interval | None, ap: float) -> str:
    objects = [len(one.objects) for one in matches.all_sizes if len(one.objects)]
    if objects and np.median(objects) < ENOUGH_OBJECTS:
        few = f"half of the classes have fewer than {ENOUGH_OBJECTS} objects"
        return f"{few}: AP of so few comes out too high, by more than the interval tells"
    if found is not None and not found.low <= ap <= found.high:
        return (
            "AP lies outside its interval, for AP comes out too high on few objects, and the interval is moved by the estimate of how much"
        )
    return ""


def _means(classes: Sequence[ClassMatches], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision (mean over recall and classes) and recall (mean over classes), float64 [thresholds, D]; NaN without a class."""
    shape = (len(IOU_THRESHOLDS), weights.shape[1])
    precision, recall, defined = np.zeros(shape), np.zeros(shape), np.zeros(shape[1])
    for matches in classes:
        objects = weights[matches.objects].sum(axis=0)
        there = objects > 0
        if not there.any():
            continue
        found_precision, found_recall = _curve_means(matches, weights, np.maximum(objects, 1))
        precision += np.where(there, found_precision, 0.0)
        recall += np.where(there, found_recall, 0.0)
        defined += there
    classes_there = np.where(defined > 0, defined, np.nan)
    # A mean of ones may exceed 1 by rounding.
    return np.minimum(precision / classes_there, 1.0), np.minimum(recall / classes_there, 1.0)


def _curve_means(matches: ClassMatches, weights: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one class's precision, mean over the 101 recalls, and recall, float64 [thresholds, D]."""
    shape = (len(IOU_THRESHOLDS), weights.shape[1])
    precision, recall = np.zeros(shape), np.zeros(shape)
    counted = np.cumsum(weights[matches.images], axis=0, dtype=np.int32)
    for threshold in range(len(IOU_THRESHOLDS)):
        true = np.flatnonzero(matches.true >> threshold & 1)
        if not len(true):
            continue
        hits = np.cumsum(weights[matches.images[true]], axis=0, dtype=np.int32)
        answers = counted[true]
        ignored = np.flatnonzero(matches.ignored >> threshold & 1)
        if len(ignored):
            before = np.cumsum(weights[matches.images[ignored]], axis=0, dtype=np.int32)
            answers -= np.vstack([np.zeros_like(before[:1]), before])[np.searchsorted(ignored, true)]
        recall[threshold] = hits[-1] / objects
        precision[threshold] = _mean_precision(hits, answers, objects)
    return precision, recall


def _mean_precision(hits: np.ndarray, answers: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the mean of the monotone precision at 101 recalls, float64 [D].

    Only true positives matter: between two of them recall stays and precision falls. Each counts for the recalls that it is the first to
    reach.

    Args:
        hits, answers: int32 [true positives, D], true positives and counted detections up to and with each.
        objects: int32 [D].
    """
    precision = hits / (answers + _EPSILON)
    np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])
    reached = np.searchsorted(_RECALLS, (hits / objects).ravel(), side="right").reshape(hits.shape)
    precision[1:] *= np.diff(reached, axis=0)
    # Recall 0 is reached by the first detection, whatever it is.
    precision[0] *= reached[0]
    return precision.sum(axis=0) / len(_RECALLS)
