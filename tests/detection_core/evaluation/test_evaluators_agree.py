"""Both evaluators give the same 12 numbers on 200 generated cases, among them every case that evaluators are known to part on."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection_core.evaluation.coco_metrics import coco_metrics, largest_difference
from tests.detection_core.evaluation.cases import found, truth

CASES = 200
TOLERANCE = 1e-9
SITUATIONS = (
    "a crowd",
    "a detection in a crowd",
    "an empty image",
    "an image without ground truth but with detections",
    "an image without detections but with ground truth",
    "equal scores in one image and class",
    "equal scores across images",
    "no ground truth at all",
    "no detections at all",
    "one class",
    "several classes",
    "ground truth of area 32 x 32",
    "ground truth of area 96 x 96",
    "a detection of area 32 x 32",
    "a detection of area 96 x 96",
    "more than 100 detections in an image",
    "more than 100 detections of one class in an image",
    "an AP that is neither 0 nor 1",
)
# Sides on both borders of COCO's size classes, also by way of boxes that are no squares, and off them by little.
SIDES = st.sampled_from(
    [(32, 32), (16, 64), (96, 96), (72, 128), (31.5, 32), (32, 32.5), (95, 96), (96, 97), (8, 12), (50, 40), (200, 150)]
)
CORNERS = st.tuples(st.integers(0, 400), st.integers(0, 300))
SCORES = st.sampled_from([0.1, 0.3, 0.3, 0.5, 0.7, 0.9, 0.99])
SHIFTS = st.sampled_from([(0, 0, 1, 1), (0, 0, 1, 1), (2, 1, 1, 1), (5, -4, 1.1, 0.9), (0, 0, 1, 0.5), (12, 9, 1.2, 1.2), (40, 40, 1, 1)])


@st.composite
def cases(draw):
    """Ground truth and detections: objects, some of them crowds, with detections around them; false alarms; sometimes a flood of them."""
    images, classes = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 2, 3]))
    objects, rows = [], []
    labels = st.integers(1, classes)
    without_truth = draw(st.integers(0, 9)) == 0
    for image in range(1, images + 1):
        for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
            (x, y), (width, height), label = draw(CORNERS), draw(SIDES), draw(labels)
            objects.append((image, label, (x, y, width, height), draw(st.sampled_from([0, 0, 0, 1]))))
            for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
                dx, dy, wider, higher = draw(SHIFTS)
                hit = (x + dx, y + dy, width * wider, height * higher)
                rows.append((image, draw(st.sampled_from([label, label, draw(labels)])), hit, draw(SCORES)))
        for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
            rows.append((image, draw(labels), (*draw(CORNERS), *draw(SIDES)), draw(SCORES)))
        if draw(st.integers(0, 9)) == 0:
            rows += flood(image, draw(labels), objects, draw(st.integers(0, 2**16)))
    ground_truth = truth([] if without_truth else objects, images=images, classes=classes)
    for entry in ground_truth["annotations"]:
        entry["area"] *= draw(st.sampled_from([1, 1, 1, 0.6]))  # areas are those of masks
    return ground_truth, found(*rows) if draw(st.integers(0, 19)) else found()


def flood(image, label, objects, seed):
    """Between 101 and 140 detections of one class in an image, every third of them near an object, with few different scores."""
    rng = np.random.default_rng(seed)
    here = [box for number, _, box, _ in objects if number == image]
    rows = []
    for number in range(rng.integers(101, 141)):
        box = (*rng.uniform(0, 400, 2), *rng.uniform(5, 120, 2))
        if here and number % 3 == 0:
            box = tuple(np.add(here[rng.integers(len(here))], rng.normal(0, 4, 4) * [1, 1, 0.5, 0.5]))
        rows.append((image, label, box, round(float(rng.uniform(0, 1)), 1)))
    return rows


def situations(ground_truth, detections, metrics):
    """Say which of SITUATIONS a case holds, from its boxes alone."""
    annotations, images = ground_truth["annotations"], {image["id"] for image in ground_truth["images"]}
    with_truth, with_detections = {entry["image_id"] for entry in annotations}, set(detections[:, 0].tolist())
    crowds = [entry for entry in annotations if entry["iscrowd"]]
    areas, found_areas = {entry["area"] for entry in annotations}, set((detections[:, 3] * detections[:, 4]).tolist())
    by_class = Counter(map(tuple, detections[:, [0, 6]].tolist()))
    holds = {
        "a crowd": bool(crowds),
        "a detection in a crowd": any(inside(row, crowd) for row in detections for crowd in crowds),
        "an empty image": bool(images - with_truth - with_detections),
        "an image without ground truth but with detections": bool(with_detections - with_truth),
        "an image without detections but with ground truth": bool(with_truth - with_detections),
        "equal scores in one image and class": repeated(detections[:, [0, 6, 5]]),
        "equal scores across images": repeated(np.unique(detections[:, [0, 6, 5]], axis=0)[:, 1:]),
        "no ground truth at all": not annotations,
        "no detections at all": not len(detections),
        "one class": len(ground_truth["categories"]) == 1,
        "several classes": len(ground_truth["categories"]) > 1,
        "ground truth of area 32 x 32": 32**2 in areas,
        "ground truth of area 96 x 96": 96**2 in areas,
        "a detection of area 32 x 32": 32**2 in found_areas,
        "a detection of area 96 x 96": 96**2 in found_areas,
        "more than 100 detections in an image": max(Counter(detections[:, 0].tolist()).values(), default=0) > 100,
        "more than 100 detections of one class in an image": max(by_class.values(), default=0) > 100,
        "an AP that is neither 0 nor 1": 0.02 < (metrics.ap or 0) < 0.98,
    }
    assert tuple(holds) == SITUATIONS
    return [name for name, held in holds.items() if held]


def inside(row, crowd):
    """Whether more than half of a detection lies in a crowd of its image and class."""
    if (row[0], row[6]) != (crowd["image_id"], crowd["category_id"]):
        return False
    x, y, width, height = crowd["bbox"]
    across = min(row[1] + row[3], x + width) - max(row[1], x)
    down = min(row[2] + row[4], y + height) - max(row[2], y)
    return across > 0 and down > 0 and across * down > 0.5 * row[3] * row[4]


def repeated(rows):
    return len(np.unique(rows, axis=0)) < len(rows)


def test_both_evaluators_give_the_same_twelve_numbers_on_200_generated_cases_that_hold_every_known_trap():
    seen = Counter()

    @settings(max_examples=CASES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def agree(case):
        ground_truth, detections = case
        fast, fast_classes = coco_metrics(ground_truth, detections, engine="hotcoco")
        reference, reference_classes = coco_metrics(ground_truth, detections, engine="pycocotools")
        seen.update(["cases", *situations(ground_truth, detections, reference)])
        assert largest_difference(fast, reference) <= TOLERANCE
        for one, other in zip(fast_classes, reference_classes, strict=True):
            assert one.ground_truths == other.ground_truths and (one.ap is None) == (other.ap is None)
            assert abs((one.ap or 0) - (other.ap or 0)) <= TOLERANCE and abs((one.ap50 or 0) - (other.ap50 or 0)) <= TOLERANCE

    agree()
    assert seen["cases"] >= CASES
    assert {name: seen[name] for name in SITUATIONS if seen[name] < 5} == {}
