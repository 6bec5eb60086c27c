"""TIDE and D-ECE again, one detection at a time in plain Python, as their papers and tidecv say it: slow, and nothing shared with ours."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

FOREGROUND, BACKGROUND = 0.5, 0.1
COCO_LEVELS = np.linspace(0, 1, 101)


def iou(one: list[float], other: list[float], *, crowd: bool = False) -> float:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    common, own = across * down, one[2] * one[3]
    return common / own if crowd else common / (own + other[2] * other[3] - common)


def matched(ground_truth: dict[str, Any], rows: np.ndarray) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return detections, with `used` True, False or None for ignored, and objects, with `used`; both in lists by image and score."""
    objects = [{"n": n, **entry, "used": False} for n, entry in enumerate(ground_truth["annotations"]) if not entry.get("iscrowd")]
    crowds = [entry for entry in ground_truth["annotations"] if entry.get("iscrowd")]
    known = {entry["id"] for entry in ground_truth["categories"]}
    detections = []
    for image in sorted(entry["id"] for entry in ground_truth["images"]):
        here = [row for row in rows.tolist() if row[0] == image and row[6] in known]
        of_class: dict[float, int] = defaultdict(int)
        for row in sorted(here, key=lambda row: -row[5]):
            of_class[row[6]] += 1
            if of_class[row[6]] > 100:
                continue
            detection = {"image": image, "label": row[6], "box": row[1:5], "score": row[5], "used": False}
            mine = [entry for entry in objects if entry["image_id"] == image and entry["category_id"] == row[6]]
            free = [(iou(row[1:5], entry["bbox"]), entry["n"], entry) for entry in mine if not entry["used"]]
            best = max((entry for entry in free if entry[0] >= FOREGROUND), key=lambda entry: entry[:2], default=None)
            if best:
                detection["used"] = best[2]["used"] = True
            elif any(
                crowd["image_id"] == image and crowd["category_id"] == row[6] and iou(row[1:5], crowd["bbox"], crowd=True) >= FOREGROUND
                for crowd in crowds
            ):
                detection["used"] = None
            detections.append(detection)
    return detections, objects


def plain_tide(ground_truth: dict[str, Any], rows: np.ndarray, levels: np.ndarray = COCO_LEVELS) -> dict[str, Any]:
    """Return `ap50`, `counts` and `gain` by kind of error, AP being the mean of precision at the `levels` of recall."""
    detections, objects = matched(ground_truth, rows)
    for detection in detections:
        detection["error"], detection["target"] = name_of(detection, objects) if detection["used"] is False else (None, None)
    for entry in objects:
        blamed = [one for one in detections if one["target"] is entry]
        entry["usable"] = bool(blamed) and not entry["used"]
        entry["winner"] = max(blamed, key=lambda one: one["score"], default=None) if entry["usable"] else None
    missed = [entry for entry in objects if not entry["used"] and not entry["usable"]]
    lost = [entry for entry in objects if not entry["used"]]
    base = mean_ap(levels, objects, points(detections))
    gain = {}
    for kind in ("Cls", "Loc", "Both", "Dupe", "Bkg"):
        gain[kind] = mean_ap(levels, objects, points(detections, mend=kind)) - base
    gain["Miss"] = mean_ap(levels, objects, points(detections), without=missed) - base
    only_right = {label: [point for point in found if point[1]] for label, found in points(detections).items()}
    gain["FP"] = mean_ap(levels, objects, only_right) - base
    gain["FN"] = mean_ap(levels, objects, points(detections), without=lost) - base
    counts = {kind: sum(one["error"] == kind for one in detections) for kind in ("Cls", "Loc", "Both", "Dupe", "Bkg")}
    return {"ap50": base, "counts": {**counts, "Miss": len(missed)}, "gain": gain}


def name_of(detection: dict[str, Any], objects: list[dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    here = [(iou(detection["box"], entry["bbox"]), entry) for entry in objects if entry["image_id"] == detection["image"]]
    same = [(value, entry) for value, entry in here if entry["category_id"] == detection["label"]]
    other = [(value, entry) for value, entry in here if entry["category_id"] != detection["label"]]
    best_same = max(same, key=lambda one: one[0], default=(0.0, None))
    best_other = max(other, key=lambda one: one[0], default=(0.0, None))
    if BACKGROUND <= best_same[0] <= FOREGROUND:
        return "Loc", best_same[1]
    if best_other[0] >= FOREGROUND:
        return "Cls", best_other[1]
    if best_same[0] > FOREGROUND:
        return "Dupe", None
    return ("Bkg", None) if best_other[0] <= BACKGROUND else ("Both", None)


def points(detections: list[dict[str, Any]], mend: str | None = None) -> dict[float, list[tuple[float, bool]]]:
    """Return (score, right) of each detection by class, after mending one kind of error."""
    found: dict[float, list[tuple[float, bool]]] = defaultdict(list)
    for one in detections:
        if one["used"] is None:
            continue
        if mend is None or one["error"] != mend:
            found[one["label"]].append((one["score"], bool(one["used"])))
        elif one["target"] is not None and one["target"].get("winner") is one:
            found[one["target"]["category_id"]].append((one["score"], True))
    return found


def mean_ap(
    levels: np.ndarray,
    objects: list[dict[str, Any]],
    found: dict[float, list[tuple[float, bool]]],
    *,
    without: list[dict[str, Any]] | None = None,
) -> float:
    """Mean of AP over the classes with ground truth; a class that has lost all of it, and has no detections, leaves the mean."""
    gone = [entry["n"] for entry in without or []]
    values = []
    for label in {entry["category_id"] for entry in objects}:
        there = sum(entry["category_id"] == label and entry["n"] not in gone for entry in objects)
        if there or found.get(label):
            values.append(average_precision(levels, found.get(label, []), there))
    return sum(values) / len(values) if values else 0.0


def average_precision(levels: np.ndarray, found: list[tuple[float, bool]], there: int) -> float:
    if not there:
        return 0.0
    curve, right = [], 0
    for number, (_, is_right) in enumerate(sorted(found, key=lambda point: -point[0]), start=1):
        right += is_right
        curve.append((right / there, right / number))
    return sum(max((precision for recall, precision in curve if recall >= level), default=0.0) for level in levels) / len(levels)


def plain_ece(ground_truth: dict[str, Any], rows: np.ndarray, *, floor: float, bins: int) -> float:
    """Return the detection expected calibration error over score bins."""
    detections, _ = matched(ground_truth, rows)
    kept = [one for one in detections if one["score"] > floor and one["used"] is not None]
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        here = [one for one in kept if low <= one["score"] < high or (number == bins - 1 and one["score"] == 1)]
        if here:
            confidence = sum(one["score"] for one in here) / len(here)
            precision = sum(one["used"] for one in here) / len(here)
            total += len(here) / len(kept) * abs(precision - confidence)
    return total
